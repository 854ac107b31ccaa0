// The diagram: time goes to the right, each node and each client has a lane.
const Diagram = (() => {
  const canvas = document.getElementById('diagram');
  const GUTTER = 84, AXIS = 24, FAULTS = 24;
  // Beyond so many, messages are drawn thinner, and at last only some of them.
  const CLEAR = 700, MOST = 5000;
  const view = { a: 0, b: Model.end, quiet: false };
  let size = { width: 0, height: 0 };
  let lanes = { node: [], client: [], gap: 0 };
  let targets = [];
  let note = '';

  const x = (t) => GUTTER + ((t - view.a) / (view.b - view.a)) * (size.width - GUTTER - 10);
  const t = (px) => view.a + ((px - GUTTER) / (size.width - GUTTER - 10)) * (view.b - view.a);
  const inside = (t0, t1) => t1 >= view.a && t0 <= view.b;
  const left = (time) => Math.max(x(time), GUTTER);
  const right = (time) => Math.min(x(Math.min(time, Model.end)), size.width);

  function layout() {
    const rows = Model.clients.reduce((sum, client) => sum + client.rows, 0);
    const wanted = rows * 9 + Model.clients.length * 8 + 16;
    const room = size.height - AXIS - FAULTS;
    const clientsHeight = Math.min(wanted, room * (Model.nodes.length === 1 ? 0.6 : 0.36));
    const top = AXIS + FAULTS;
    const gap = (room - clientsHeight) / Model.nodes.length;
    lanes.gap = gap;
    const [first, last] = [top + Math.min(gap / 2, 40), top + room - clientsHeight - Math.min(gap / 2, 44)];
    lanes.node = Model.nodes.map((_, i) => (Model.nodes.length === 1 ? (first + last) / 2 : first + ((last - first) * i) / (Model.nodes.length - 1)));
    const unit = (clientsHeight - 16) / Math.max(1, rows * 9 + Model.clients.length * 8);
    let y = size.height - clientsHeight + 12;
    lanes.divide = size.height - clientsHeight + 3;
    lanes.client = Model.clients.map((client) => {
      const lane = { y, row: 9 * unit, height: client.rows * 9 * unit };
      y += lane.height + 8 * unit;
      return lane;
    });
  }

  const hit = (target) => targets.push(target);

  function ticks() {
    const span = view.b - view.a;
    const rough = span / Math.max(2, (size.width - GUTTER) / 110);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const list = [];
    for (let at = Math.ceil(view.a / step) * step; at <= view.b; at += step) list.push(at);
    return { list, step };
  }

  function clock(ms, step) {
    if (step >= 1000) return `${Math.round(ms / 1000)} s`;
    if (step >= 1) return `${(ms / 1000).toFixed(step >= 100 ? 1 : step >= 10 ? 2 : 3)} s`;
    return `${ms.toFixed(step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3)} ms`;
  }

  function axis(ctx, colour) {
    const { list, step } = ticks();
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    for (const at of list) {
      const px = Math.round(x(at)) + 0.5;
      ctx.strokeStyle = colour.grid;
      ctx.lineWidth = 1;
      ctx.beginPath(); ctx.moveTo(px, AXIS); ctx.lineTo(px, size.height); ctx.stroke();
      ctx.fillStyle = colour.soft;
      if (px > GUTTER + 16 && px < size.width - 20) ctx.fillText(clock(at, step), px, AXIS / 2 + 1);
    }
  }

  // Partitions lie over all nodes, what befalls one node over its lane.
  function bands(ctx, colour) {
    ctx.textAlign = 'left';
    ctx.textBaseline = 'middle';
    let busy = -Infinity;
    for (const band of Model.bands) {
      if (!inside(band.t0, band.t1)) continue;
      const [x0, x1] = [left(band.t0), right(band.t1)];
      if (band.kind === 'cut') {
        ctx.fillStyle = colour.cut;
        ctx.fillRect(x0, AXIS, x1 - x0, lanes.divide - AXIS);
        ctx.fillStyle = colour['cut-edge'];
        ctx.fillRect(x0, AXIS, Math.max(x1 - x0, 1.5), 3);
        words(ctx, band.text, x0 + 4, AXIS + 13, x1 - x0 - 8, colour.bad);
        if (x1 - x0 > 40) busy = Math.max(busy, x0 + 8 + ctx.measureText(band.text).width);
        hit({ i: band.i, kind: 'rect', x0, x1: Math.max(x1, x0 + 3), y0: AXIS, y1: AXIS + FAULTS - 4, rank: 2 });
      } else if (lanes.node[band.node - 1] != null) {
        const y = lanes.node[band.node - 1], half = Math.min(22, lanes.gap * 0.3);
        ctx.fillStyle = band.kind === 'still' ? colour.still : colour.slow;
        ctx.fillRect(x0, y - half, x1 - x0, half * 2);
        words(ctx, band.text, x0 + 30, y - half + 7, x1 - x0 - 34, band.kind === 'still' ? colour['still-edge'] : colour.candidate);
        hit({ i: band.i, kind: 'rect', x0, x1, y0: y - half, y1: y - half + 12, rank: 2 });
      }
    }
    const points = Model.points.filter((point) => inside(point.t, point.t));
    const alone = points.filter((point) => !point.node);
    for (const point of points) {
      const px = x(point.t);
      const y = point.node ? lanes.node[point.node - 1] - Math.min(22, lanes.gap * 0.3) : AXIS + 13;
      ctx.fillStyle = /mended/.test(point.text) ? colour.good : /operator/.test(point.text) ? colour.read : colour.candidate;
      Theme.diamond(ctx, px, y, 3.5);
      ctx.fill();
      hit({ i: point.i, kind: 'point', x: px, y, rank: 1 });
      if (point.node || px <= busy) continue;
      const next = alone[alone.indexOf(point) + 1];
      const width = ctx.measureText(point.text).width;
      if (px + width + 14 > (next ? x(next.t) : size.width)) continue;
      Theme.say(ctx, point.text, px + 7, y, colour.soft);
      busy = px + 14 + width;
    }
  }

  // As many pixels as a record has, on average.
  function perRecord() {
    return (size.width - GUTTER) / Math.max(1, Model.find(view.b) - Model.find(view.a));
  }

  function words(ctx, text, px, y, room, colour) {
    // A few letters say nothing.
    if (room < Math.min(ctx.measureText(text).width, 62)) return;
    let shown = text;
    while (shown.length > 3 && ctx.measureText(shown).width > room) shown = shown.slice(0, -2).trimEnd() + '…';
    if (ctx.measureText(shown).width <= room) { ctx.fillStyle = colour; ctx.fillText(shown, px, y); }
  }

  function roles(ctx, colour) {
    ctx.textBaseline = 'middle';
    Model.nodes.forEach((node, n) => {
      const y = lanes.node[n];
      ctx.strokeStyle = colour.line;
      ctx.lineWidth = 1;
      ctx.setLineDash([1, 4]);
      ctx.beginPath(); ctx.moveTo(GUTTER, y); ctx.lineTo(size.width, y); ctx.stroke();
      ctx.setLineDash([]);
      for (const span of node.spans) {
        if (!inside(span.t0, span.t1)) continue;
        const [x0, x1] = [left(span.t0), right(span.t1)];
        Theme.bar(ctx, span.role, x0, x1, y);
        hit({ i: span.i, kind: 'rect', x0, x1, y0: y - 7, y1: y + 7, rank: 3 });
      }
      terms(ctx, colour, node, y);
    });
  }

  // The term stands where it changes, and at the left edge.
  function terms(ctx, colour, node, y) {
    ctx.textAlign = 'left';
    let free = -Infinity, known = null;
    for (const span of node.spans) {
      if (span.term === known) continue;
      known = span.term;
      const until = node.spans.find((other) => other.t0 > span.t0 && other.term !== span.term)?.t0 ?? Infinity;
      if (!inside(span.t0, until) || span.term === 0) continue;
      const px = left(span.t0);
      const text = `T${span.term}`;
      if (span.t0 >= view.a) { ctx.strokeStyle = colour.faint; ctx.lineWidth = 1; ctx.beginPath(); ctx.moveTo(px + 0.5, y - 12); ctx.lineTo(px + 0.5, y + 12); ctx.stroke(); }
      const room = right(until) - px;
      if (px < free || room < ctx.measureText(text).width + 2) continue;
      Theme.say(ctx, text, px + 3, y - 14, colour.soft);
      free = px + ctx.measureText(text).width + 6;
    }
  }

  // Which messages are to be drawn.
  function visible() {
    const list = Model.arrows.filter((arrow) => (view.quiet || !arrow.quiet) && inside(arrow.t0, arrow.r < 0 ? arrow.t0 + Model.about.latency_ns / 1e6 : arrow.t1));
    note = '';
    if (list.length <= MOST) return list;
    const every = Math.ceil(list.length / MOST);
    note = `one message in ${every} is drawn; zoom in to see all`;
    return list.filter((_, i) => i % every === 0);
  }

  function ends(arrow) {
    const y0 = lanes.node[arrow.from - 1], y1 = lanes.node[arrow.to - 1];
    if (y0 == null || y1 == null) return null;
    const way = Math.sign(y1 - y0), clear = Math.min(9, lanes.gap * 0.2);
    if (arrow.r >= 0) return { x0: x(arrow.t0), y0: y0 + way * clear, x1: x(arrow.t1), y1: y1 - way * clear };
    const part = Math.min(0.42, 60 / Math.abs(y1 - y0));
    const x0 = x(arrow.t0);
    return { x0, y0: y0 + way * clear, x1: Math.max(x0 + 3, x(arrow.t0 + (Model.about.latency_ns / 1e6) * part)), y1: y0 + (y1 - y0) * part, lost: true };
  }

  function messages(ctx, colour) {
    const list = visible();
    const alpha = list.length <= CLEAR ? 1 : Math.max(0.12, CLEAR / list.length);
    const detailed = list.length <= CLEAR;
    const paths = new Map();
    const labels = [];
    for (const arrow of list) {
      const at = ends(arrow);
      if (!at) continue;
      const key = `${arrow.cls}${arrow.full ? '+' : ''}${arrow.again ? '~' : ''}`;
      if (!paths.has(key)) paths.set(key, []);
      paths.get(key).push({ arrow, at });
      if (detailed) hit({ i: arrow.s, kind: 'line', ...at, rank: 2 });
      if (list.length < 160 && arrow.label) labels.push({ arrow, at });
    }
    ctx.globalAlpha = alpha;
    for (const [key, lines] of paths) stroke(ctx, colour, key, lines, detailed);
    ctx.globalAlpha = list.length <= CLEAR ? 1 : Math.max(0.35, alpha);
    for (const lines of paths.values()) {
      for (const { at } of lines) if (at.lost) Theme.cross(ctx, at.x1, at.y1, detailed ? 3.5 : 2, colour.lost, detailed ? 1.5 : 1);
    }
    ctx.globalAlpha = 1;
    tell(ctx, colour, labels);
  }

  function stroke(ctx, colour, key, lines, detailed) {
    const cls = key.replace(/[+~]/g, '');
    ctx.strokeStyle = ctx.fillStyle = colour[cls];
    ctx.lineWidth = key.includes('+') ? 1.5 : 0.9;
    ctx.setLineDash(key.includes('~') ? [2, 3] : cls === 'vote' ? [6, 2] : []);
    ctx.beginPath();
    for (const { at } of lines) { ctx.moveTo(at.x0, at.y0); ctx.lineTo(at.x1, at.y1); }
    ctx.stroke();
    ctx.setLineDash([]);
    if (!detailed) return;
    ctx.beginPath();
    for (const { at } of lines) if (!at.lost) head(ctx, at, key.includes('+') ? 6 : 5);
    ctx.fill();
  }

  function head(ctx, { x0, y0, x1, y1 }, long) {
    const angle = Math.atan2(y1 - y0, x1 - x0);
    ctx.moveTo(x1, y1);
    ctx.lineTo(x1 - long * Math.cos(angle - 0.4), y1 - long * Math.sin(angle - 0.4));
    ctx.lineTo(x1 - long * Math.cos(angle + 0.4), y1 - long * Math.sin(angle + 0.4));
    ctx.closePath();
  }

  // A label stands on its arrow where it hides no other.
  function tell(ctx, colour, labels) {
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    const taken = [];
    for (const { arrow, at } of labels) {
      const width = ctx.measureText(arrow.label).width;
      for (const part of at.lost ? [0.6] : [0.3, 0.5, 0.68, 0.2, 0.8]) {
        const px = at.x0 + (at.x1 - at.x0) * part, py = at.y0 + (at.y1 - at.y0) * part;
        if (px < GUTTER + width / 2 || px > size.width - width / 2) continue;
        if (lanes.node.some((lane) => Math.abs(lane - py) < 26)) continue;
        if (taken.some((box) => Math.abs(box.px - px) < (box.width + width) / 2 + 3 && Math.abs(box.py - py) < 12)) continue;
        taken.push({ px, py, width });
        Theme.say(ctx, arrow.label, px, py, arrow.no ? colour.bad : colour[arrow.cls]);
        break;
      }
    }
  }

  // What happens at a node, on its lane.
  function marks(ctx, colour) {
    const dense = perRecord() < 1.2;
    Model.nodes.forEach((node, n) => {
      const y = lanes.node[n];
      let free = -Infinity;
      for (const mark of node.marks) {
        const time = Model.time[mark.i];
        if (time < view.a) continue;
        if (time > view.b) break;
        const always = ['started', 'ended', 'refused', 'elected'].includes(mark.kind);
        if (!always && (dense || mark.quiet)) continue;
        const px = x(time);
        const drawn = draw(ctx, colour, mark, px, y);
        hit({ i: mark.i, kind: 'point', x: px, y: drawn, rank: always ? 0 : 1 });
        if (mark.kind === 'committed' && mark.text && px > free) {
          ctx.textAlign = 'left';
          Theme.say(ctx, mark.text, px + 3, y + 17, colour.soft);
          free = px + 8 + ctx.measureText(mark.text).width;
        }
      }
    });
  }

  // Returns where the mark is.
  function draw(ctx, colour, { kind }, px, y) {
    ctx.lineWidth = 1.2;
    switch (kind) {
      case 'started': ctx.fillStyle = colour.good; ctx.beginPath(); ctx.moveTo(px, y - 6); ctx.lineTo(px + 9, y); ctx.lineTo(px, y + 6); ctx.fill(); return y;
      case 'ended': Theme.cross(ctx, px, y, 5.5, colour.bad, 2.4); return y;
      case 'refused': ctx.strokeStyle = colour.bad; ctx.lineWidth = 1.8; ctx.beginPath(); ctx.arc(px, y, 5, 0, 7); ctx.moveTo(px - 3.5, y + 3.5); ctx.lineTo(px + 3.5, y - 3.5); ctx.stroke(); return y;
      case 'elected': ctx.fillStyle = colour.leader; ctx.strokeStyle = colour.page; ctx.lineWidth = 1.5; Theme.diamond(ctx, px, y, 9); ctx.fill(); ctx.stroke(); return y;
      case 'role': ctx.fillStyle = colour.page; ctx.strokeStyle = colour.candidate; Theme.diamond(ctx, px, y, 4.5); ctx.fill(); ctx.stroke(); return y;
      case 'ordered': ctx.fillStyle = colour.page; ctx.strokeStyle = colour.ink; ctx.fillRect(px - 3, y - 3, 6, 6); ctx.strokeRect(px - 2.5, y - 2.5, 5, 5); return y;
      case 'cut': ctx.strokeStyle = colour.bad; ctx.lineWidth = 2; ctx.beginPath(); ctx.moveTo(px + 3, y - 6); ctx.lineTo(px - 3, y - 6); ctx.lineTo(px - 3, y + 6); ctx.lineTo(px + 3, y + 6); ctx.stroke(); return y;
      case 'durable': ctx.fillStyle = colour.ink; ctx.fillRect(px - 3, y - 3, 6, 6); return y;
      case 'committed': ctx.strokeStyle = colour.good; ctx.lineWidth = 2; ctx.beginPath(); ctx.moveTo(px, y + 3); ctx.lineTo(px, y + 12); ctx.stroke(); return y + 9;
      default: ctx.strokeStyle = colour.good; ctx.fillStyle = colour.page; ctx.beginPath(); ctx.arc(px, y + 12, 2.6, 0, 7); ctx.fill(); ctx.stroke(); return y + 12;
    }
  }

  function clients(ctx, colour) {
    ctx.strokeStyle = colour.line;
    ctx.lineWidth = 1;
    ctx.beginPath(); ctx.moveTo(GUTTER, lanes.divide + 0.5); ctx.lineTo(size.width, lanes.divide + 0.5); ctx.stroke();
    ctx.textAlign = 'left';
    ctx.textBaseline = 'middle';
    Model.clients.forEach((client, c) => {
      const lane = lanes.client[c];
      for (const operation of client.operations) {
        if (!inside(operation.t0, operation.t1)) continue;
        const [x0, x1] = [left(operation.t0), Math.max(right(operation.t1), left(operation.t0) + 1.5)];
        const y = lane.y + operation.row * lane.row, height = Math.max(lane.row - 2, 1.5);
        const name = operation.what.startsWith('get') ? 'get' : 'put';
        ctx.fillStyle = operation.outcome === 'answered' ? colour[name] : colour.page;
        ctx.fillRect(x0, y, x1 - x0, height);
        if (operation.outcome !== 'answered') {
          ctx.fillStyle = operation.outcome === 'not_applied' ? colour.page : Theme.hatch(ctx, 'bad');
          ctx.fillRect(x0, y, x1 - x0, height);
          ctx.strokeStyle = colour.bad; ctx.lineWidth = 1; ctx.strokeRect(x0 + 0.5, y + 0.5, Math.max(x1 - x0 - 1, 1), height - 1);
        }
        hit({ i: operation.asked, kind: 'rect', x0: x0 - 1, x1: x1 + 1, y0: y - 1, y1: y + height + 1, rank: 1 });
        if (x1 - x0 > 60 && height >= 6 && operation.outcome === 'answered') { ctx.save(); ctx.font = '9px system-ui, "DejaVu Sans", sans-serif'; words(ctx, operation.what, x0 + 3, y + height / 2 + 0.5, x1 - x0 - 6, colour.page); ctx.restore(); }
        for (const attempt of x1 - x0 > 8 ? operation.tries : []) {
          const px = x(Model.time[attempt.i]);
          if (px < GUTTER || px > size.width) continue;
          ctx.fillStyle = colour.ink;
          ctx.fillRect(px - 0.5, y - 1, 1, height + 2);
          if (height >= 4) hit({ i: attempt.i, kind: 'point', x: px, y: y + height / 2, rank: 0.5, near: 3 });
        }
      }
    });
  }

  function gutter(ctx, colour) {
    ctx.fillStyle = colour.page;
    ctx.fillRect(0, 0, GUTTER - 1, size.height);
    ctx.fillStyle = colour.line;
    ctx.fillRect(GUTTER - 1, AXIS, 1, size.height - AXIS);
    ctx.textAlign = 'left';
    ctx.textBaseline = 'middle';
    ctx.fillStyle = colour.faint;
    ctx.fillText('faults', 0, AXIS + 13);
    Model.nodes.forEach((node, n) => {
      ctx.font = '600 13px system-ui, "DejaVu Sans", sans-serif';
      ctx.fillStyle = colour.ink;
      ctx.fillText(`node ${node.id}`, 0, lanes.node[n] - 7);
      ctx.font = '11px system-ui, "DejaVu Sans", sans-serif';
      // Of a long time, no one role is true.
      if (view.b - view.a > 5000) return;
      const middle = (view.a + view.b) / 2;
      const span = node.spans.find((span) => span.t0 <= middle && span.t1 > middle);
      ctx.fillStyle = span ? colour[span.role] : colour.bad;
      ctx.fillText(span ? span.role : 'down', 0, lanes.node[n] + 8);
    });
    Model.clients.forEach((client, c) => {
      ctx.fillStyle = colour.soft;
      ctx.fillText(`client ${client.id}`, 0, lanes.client[c].y + lanes.client[c].height / 2 - 1);
    });
  }

  function violation(ctx, colour) {
    if (!Model.about.violation) return;
    const px = x(Model.about.ended_ns / 1e6);
    if (px < GUTTER || px > size.width) return;
    ctx.fillStyle = colour.bad;
    ctx.fillRect(px - 1, AXIS, 2, size.height - AXIS);
    ctx.textAlign = 'right';
    Theme.say(ctx, Model.about.violation.invariant, px - 6, AXIS + FAULTS + 4, colour.bad);
  }

  // Where a record is on the screen.
  function place(i, r = Model.at(i)) {
    const px = x(Model.time[i]);
    if (r.node != null) return { x: px, y: lanes.node[r.node - 1] };
    if (r.client != null && lanes.client[r.client]) {
      const operation = Model.operations.get(r.operation), lane = lanes.client[r.client];
      return { x: px, y: lane.y + ((operation?.row ?? 0) + 0.5) * lane.row - 1 };
    }
    const at = /node (\d+)/.exec(r.text ?? '');
    if (at && lanes.node[at[1] - 1] != null) return { x: px, y: lanes.node[at[1] - 1] - Math.min(22, lanes.gap * 0.3) };
    return { x: px, y: AXIS + 13 };
  }

  // Broad lines under the messages that belong to what is chosen.
  function underlay(ctx, colour, selection) {
    if (!selection) return;
    ctx.lineWidth = 6;
    ctx.lineCap = 'round';
    ctx.globalAlpha = 0.28;
    for (const arrow of selection.arrows) {
      const at = ends(arrow);
      if (!at) continue;
      ctx.strokeStyle = arrow.r < 0 ? colour.lost : colour[arrow.cls];
      ctx.beginPath(); ctx.moveTo(at.x0, at.y0); ctx.lineTo(at.x1, at.y1); ctx.stroke();
    }
    ctx.globalAlpha = 1;
    ctx.lineCap = 'butt';
  }

  function selected(ctx, colour, selection) {
    if (!selection) return;
    // To which node each try of an operation went.
    ctx.strokeStyle = colour.soft;
    ctx.lineWidth = 1.2;
    ctx.setLineDash([1, 4]);
    for (const attempt of selection.tries) {
      const at = place(attempt.i), y = lanes.node[attempt.to - 1];
      if (y == null) continue;
      ctx.beginPath(); ctx.moveTo(at.x, at.y); ctx.lineTo(at.x, y + 8); ctx.stroke();
    }
    ctx.setLineDash([]);
    for (const i of selection.path) {
      const at = place(i);
      if (at.x < GUTTER || at.x > size.width) continue;
      ctx.fillStyle = colour.select;
      ctx.beginPath(); ctx.arc(at.x, at.y, 3, 0, 7); ctx.fill();
    }
    const at = place(selection.i);
    ctx.strokeStyle = colour.select;
    ctx.lineWidth = 1;
    ctx.setLineDash([3, 3]);
    ctx.beginPath(); ctx.moveTo(Math.round(at.x) + 0.5, AXIS); ctx.lineTo(Math.round(at.x) + 0.5, size.height); ctx.stroke();
    ctx.setLineDash([]);
    ctx.lineWidth = 2;
    ctx.beginPath(); ctx.arc(at.x, at.y, 10, 0, 7); ctx.stroke();
  }

  function render(selection) {
    const fitted = Theme.fit(canvas);
    const { ctx } = fitted;
    size = fitted;
    targets = [];
    layout();
    const colour = Theme.is;
    axis(ctx, colour);
    ctx.save();
    ctx.beginPath(); ctx.rect(GUTTER, 0, size.width - GUTTER, size.height); ctx.clip();
    bands(ctx, colour);
    clients(ctx, colour);
    underlay(ctx, colour, selection);
    messages(ctx, colour);
    roles(ctx, colour);
    marks(ctx, colour);
    violation(ctx, colour);
    selected(ctx, colour, selection);
    ctx.restore();
    gutter(ctx, colour);
    document.getElementById('note').textContent = note;
  }

  function distance(target, px, py) {
    if (target.kind === 'point') return Math.hypot(px - target.x, py - target.y);
    if (target.kind === 'rect') return px >= target.x0 && px <= target.x1 && py >= target.y0 && py <= target.y1 ? 0 : Infinity;
    const { x0, y0, x1, y1 } = target;
    const length = (x1 - x0) ** 2 + (y1 - y0) ** 2 || 1;
    const along = Math.max(0, Math.min(1, ((px - x0) * (x1 - x0) + (py - y0) * (y1 - y0)) / length));
    return Math.hypot(px - x0 - along * (x1 - x0), py - y0 - along * (y1 - y0));
  }

  // The record that is drawn here; marks are preferred to arrows, and those to bars.
  function pick(px, py) {
    let best = null, least = Infinity;
    for (const target of targets) {
      const far = distance(target, px, py);
      if (far > (target.near ?? (target.kind === 'point' ? 8 : 5))) continue;
      const score = target.rank * 10 + far;
      if (score < least) { least = score; best = target; }
    }
    return best?.i ?? null;
  }

  return { canvas, view, render, pick, t, x, clock, GUTTER };
})();
