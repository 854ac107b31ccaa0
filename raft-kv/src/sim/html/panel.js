// What is known of one step, beside the diagram; and what the signs mean, when none is chosen.
const Panel = (() => {
  const panel = document.getElementById('panel');

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === 'onclick') made.addEventListener('click', value);
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  const isPlain = (value) => value === null || typeof value !== 'object';

  // Small things are shown in a line.
  function brief(name, value) {
    if (value === null) return '–';
    if (isPlain(value)) return String(value);
    if (Array.isArray(value)) return value.length === 0 ? 'none' : value.every((item) => brief('', item) !== null) && value.length <= 12 ? value.map((item) => brief('', item)).join(', ') : null;
    const keys = Object.keys(value).join();
    if (keys === 'index,term') return `${value.index}@${value.term}`;
    if (keys === 'boot,number') return `${value.boot}.${value.number}`;
    if (keys === 'node,incarnation') return `node ${value.node} #${value.incarnation.slice(0, 6)}`;
    if (keys === 'node,incarnation,boot') return `node ${value.node} #${value.incarnation.slice(0, 6)}, boot ${value.boot}`;
    return null;
  }

  function fields(object, leaveOut = []) {
    const list = element('dl');
    for (const [name, value] of Object.entries(object)) {
      if (leaveOut.includes(name)) continue;
      list.append(element('dt', {}, name.replaceAll('_', ' ')));
      const short = brief(name, value);
      if (short !== null) { list.append(element('dd', {}, short)); continue; }
      list.append(element('dd'));
      const items = Array.isArray(value) ? value.map((item, n) => [isPlain(item) ? n : entry(item), item]) : null;
      const nested = element('dd', { class: 'nested' });
      if (!items) nested.append(fields(value));
      else for (const [head, item] of items.slice(0, 40)) nested.append(element('div', {}, isPlain(item) ? String(item) : head));
      if (items && items.length > 40) nested.append(`and ${items.length - 40} more`);
      list.append(nested);
    }
    return list;
  }

  // An entry in a line.
  function entry(item) {
    if (item.index == null) return brief('', item) ?? JSON.stringify(item);
    const what = [item.operation?.replaceAll('_', ' '), item.keys, item.write && `(${item.write})`].filter(Boolean).join(' ');
    const members = item.membership ? ` of ${item.membership.voters.map((voter) => voter.node).join(', ')}` : '';
    return `${item.index}@${item.term} ${what || item.kind || ''}${members}${item.bytes != null ? `, ${item.bytes} bytes` : ''}`;
  }

  function heading(r) {
    if (r.message) return `${r.event === 'sent' ? 'sends' : 'receives'} ${r.message.kind.replaceAll('_', ' ')}`;
    switch (r.event) {
      case 'asked': return `wants: ${r.what}`;
      case 'tried': return 'sends a request';
      case 'answered': return { answered: 'has its answer', unknown: 'does not know what came of it', not_applied: 'learns that it was not applied' }[r.outcome];
      case 'role': return `is ${r.role} in term ${r.term}`;
      case 'started': return `starts, boot ${r.boot}`;
      case 'ended': return `ends: ${r.how}`;
      case 'refused': return 'does not start';
      case 'ordered': return `orders job ${r.job}`;
      case 'durable': return `job ${r.job} is on the disk`;
      case 'committed': return `knows ${r.first === r.index ? r.index : `${r.first} to ${r.index}`} to be committed`;
      case 'applied': return `has applied ${r.first === r.index ? r.index : `${r.first} to ${r.index}`}`;
      case 'fault': return r.text;
      default: return r.event;
    }
  }

  const where = (r) => (r.node != null ? `node ${r.node}` : r.client != null ? `client ${r.client}` : 'the world');

  function steps(title, list, here, go) {
    const shown = list.length > 60 ? [...list.slice(0, 50), ...list.slice(-10)] : list;
    const rows = shown.map((i) => {
      const r = Model.at(i);
      const row = element('li', { onclick: () => go(i), class: i === here ? 'here' : '' });
      row.append(element('span', {}, `${Model.time[i].toFixed(3)}`), element('span', {}, `${where(r)} ${heading(r)}${r.message && r.event === 'sent' ? ` to ${r.message.to.node}` : ''}`));
      return row;
    });
    const more = list.length > shown.length ? ` (${list.length}, not all shown)` : '';
    return [element('h3', {}, title + more), element('ol', {}, ...rows)];
  }

  function show(selection, pinned, go) {
    panel.replaceChildren();
    if (!selection) return legend();
    const { i, path, own: arrows } = selection;
    const r = Model.at(i);
    if (pinned) panel.append(element('span', { class: 'pinned' }, 'pinned'));
    panel.append(element('h2', {}, `${where(r)} ${r.event === 'fault' ? '' : heading(r)}`));
    panel.append(element('p', { class: 'where' }, `step ${r.step}, at ${(Model.time[i] / 1000).toFixed(9)} s`));
    if (r.event === 'fault') panel.append(element('p', {}, r.text));
    for (const arrow of arrows) panel.append(link(arrow, i, go));
    const content = fields(r, ['step', 'time_ms', 'event', 'node', 'client', 'message', 'state', 'sent_in', 'text']);
    if (content.childElementCount) panel.append(content);
    if (r.message) panel.append(element('h3', {}, 'message'), fields(r.message, ['kind']));
    const operation = Model.operations.get(r.operation);
    if (operation && r.event === 'asked') panel.append(fields({ outcome: operation.outcome ?? 'open', took: operation.t1 < Infinity ? `${(operation.t1 - operation.t0).toFixed(3)} ms` : '–', write: operation.write, tries: operation.tries.length, to: operation.tries.map((attempt) => attempt.to) }));
    if (r.state) panel.append(element('h3', {}, `how node ${r.node} stands then`), fields(r.state));
    if (path.length) panel.append(...steps(`write ${selection.write}, from step to step`, path, i, go));
  }

  function link(arrow, i, go) {
    if (arrow.r < 0) return element('p', { class: 'where' }, `to node ${arrow.to}; it never arrived`);
    const other = i === arrow.s ? arrow.r : arrow.s;
    const took = (arrow.t1 - arrow.t0).toFixed(3);
    const text = i === arrow.s ? `arrives at node ${arrow.to} after ${took} ms${arrow.again ? ', once more' : ''}` : `was sent by node ${arrow.from}, ${took} ms before`;
    return element('p', { class: 'where' }, element('span', { class: 'link', onclick: () => go(other) }, text));
  }

  // A sign, drawn as the diagram draws it.
  function sign(draw) {
    const canvas = element('canvas', { width: 92, height: 36, style: 'width:46px;height:18px' });
    const ctx = canvas.getContext('2d');
    ctx.scale(2, 2);
    draw(ctx, Theme.is);
    return canvas;
  }

  function line(cls, width, dash, lost) {
    return (ctx, colour) => {
      ctx.strokeStyle = colour[cls]; ctx.lineWidth = width; ctx.setLineDash(dash);
      ctx.beginPath(); ctx.moveTo(3, 3); ctx.lineTo(lost ? 26 : 43, lost ? 10 : 15); ctx.stroke(); ctx.setLineDash([]);
      if (lost) Theme.cross(ctx, 27, 10.5, 3.5, colour.lost);
    };
  }

  function operation(outcome, name) {
    return (ctx, colour) => {
      ctx.fillStyle = outcome === 'answered' ? colour[name] : outcome === 'unknown' ? Theme.hatch(ctx, 'bad') : colour.page;
      ctx.fillRect(4, 6, 38, 7);
      if (outcome !== 'answered') { ctx.strokeStyle = colour.bad; ctx.strokeRect(4.5, 6.5, 37, 6); }
    };
  }

  function legend() {
    const list = element('div', { class: 'legend' });
    const add = (draw, text) => list.append(sign(draw), element('span', {}, text));
    for (const role of ['leader', 'candidate', 'pre-candidate', 'follower', 'learner']) add((ctx) => Theme.bar(ctx, role, 2, 44, 9), role);
    add((ctx, colour) => { ctx.fillStyle = colour.leader; Theme.diamond(ctx, 23, 9, 8); ctx.fill(); }, 'elected');
    add((ctx, colour) => { Theme.cross(ctx, 12, 9, 5, colour.bad, 2.2); ctx.fillStyle = colour.good; ctx.beginPath(); ctx.moveTo(30, 3); ctx.lineTo(39, 9); ctx.lineTo(30, 15); ctx.fill(); }, 'ends; starts');
    add(line('append', 1.5, []), 'append with entries (their indexes)');
    add(line('reply', 0.9, []), 'answer to an append');
    add(line('vote', 1, [6, 2]), 'votes and pre-votes');
    add(line('append', 1, [], true), 'never arrived');
    add(line('append', 1, [2, 3]), 'arrived once more');
    add((ctx, colour) => { ctx.strokeStyle = ctx.fillStyle = colour.ink; ctx.strokeRect(10.5, 6.5, 5, 5); ctx.fillRect(29, 6, 6, 6); }, 'write ordered; on the disk');
    add((ctx, colour) => { ctx.strokeStyle = colour.bad; ctx.lineWidth = 2; ctx.beginPath(); ctx.moveTo(26, 3); ctx.lineTo(20, 3); ctx.lineTo(20, 15); ctx.lineTo(26, 15); ctx.stroke(); }, 'log cut');
    add((ctx, colour) => { ctx.strokeStyle = colour.good; ctx.lineWidth = 2; ctx.beginPath(); ctx.moveTo(13, 4); ctx.lineTo(13, 14); ctx.stroke(); ctx.lineWidth = 1.2; ctx.beginPath(); ctx.arc(32, 9, 2.8, 0, 7); ctx.stroke(); }, 'commit (its index); applied');
    add((ctx, colour) => { ctx.fillStyle = colour.cut; ctx.fillRect(2, 2, 42, 15); ctx.fillStyle = colour['cut-edge']; ctx.fillRect(2, 2, 42, 3); }, 'links are cut');
    add((ctx, colour) => { ctx.fillStyle = colour.still; ctx.fillRect(2, 2, 20, 15); ctx.fillStyle = colour.slow; ctx.fillRect(24, 2, 20, 15); }, 'stands still; its disk is slow, hangs or is full');
    add((ctx, colour) => { [['candidate', 10], ['read', 23], ['good', 36]].forEach(([name, px]) => { ctx.fillStyle = colour[name]; Theme.diamond(ctx, px, 9, 4); ctx.fill(); }); }, 'another fault; an operator; all is mended');
    add(operation('answered', 'put'), 'write, answered');
    add(operation('answered', 'get'), 'read, answered');
    add(operation('unknown'), 'ended without knowing');
    add(operation('not_applied'), 'surely not applied');
    panel.append(element('h2', {}, 'What is what'), element('p', { class: 'where' }, 'Time goes to the right. Point at anything to see all of it.'), list);
  }

  return { show };
})();
