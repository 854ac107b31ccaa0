// What happened: unpacks the data, and finds in it what is drawn. Times are in milliseconds.
const Model = (() => {
  const data = JSON.parse(document.getElementById('run').textContent);
  const { about, shapes, values } = data;
  const known = new Array(values.length);

  // See pack.rs.
  function unpack(packed) {
    if (!Array.isArray(packed)) return packed;
    if (packed[0] === -1) return packed.slice(1).map(unpack);
    if (packed[0] === -2) return (known[packed[1]] ??= unpack(values[packed[1]]));
    const object = {};
    let next = 1;
    for (const [name, word] of shapes[packed[0]]) object[name] = word ?? unpack(packed[next++]);
    return object;
  }

  const count = data.records.length;
  const time = new Float64Array(count);
  const states = new Array(count);
  const arrows = [];
  const operations = new Map();
  const writes = new Map();
  const elections = [];
  const failures = [];
  const bands = [];
  const points = [];
  const lane = (_, i) => ({ id: i + 1, spans: [], steps: [], marks: [] });
  const nodes = Array.from({ length: about.nodes }, lane);
  const clients = Array.from({ length: about.clients }, (_, i) => ({ id: i, rows: 1, operations: [] }));
  // A violation may come when nothing has happened for long.
  const end = () => Math.max(count ? time[count - 1] : 1, about.violation ? about.ended_ns / 1e6 : 0);

  const QUIET = new Set(['heartbeat_request', 'heartbeat_response', 'read_request', 'read_response']);
  const CLASS = {
    append_request: 'append', append_response: 'reply', snapshot_request: 'append', vote_request: 'vote', vote_response: 'vote',
    pre_vote_request: 'vote', pre_vote_response: 'vote', timeout_now: 'vote', heartbeat_request: 'heartbeat',
    heartbeat_response: 'heartbeat', read_request: 'read', read_response: 'read',
  };

  function label(m) {
    switch (m.kind) {
      case 'append_request': {
        const n = m.entries.length;
        return n === 0 ? `after ${m.prev.index}` : n === 1 ? `${m.entries[0].index}` : `${m.entries[0].index}–${m.entries[n - 1].index}`;
      }
      case 'append_response': return m.result === 'conflict' ? `not ${m.prev}` : `${m.matched} ✓`;
      case 'pre_vote_request': return 'pre?';
      case 'vote_request': return `T${m.term}?`;
      case 'pre_vote_response': case 'vote_response': return m.granted ? 'yes' : 'no';
      case 'timeout_now': return 'lead!';
      case 'snapshot_request': return `snapshot ${m.snapshot.last.index}`;
      case 'heartbeat_request': return '♥';
      default: return '';
    }
  }

  function passes(id, i) {
    if (id == null) return;
    const list = writes.get(id);
    if (!list) writes.set(id, [i]);
    else if (list[list.length - 1] !== i) list.push(i);
  }

  function span(node, i, role, term) {
    const spans = nodes[node - 1].spans;
    const last = spans[spans.length - 1];
    if (last && last.t1 === Infinity) {
      if (last.role === role && last.term === term) return;
      last.t1 = time[i];
    }
    if (role) spans.push({ t0: time[i], t1: Infinity, role, term, i, fresh: !last || last.term !== term });
  }

  // Durations as Rust prints them.
  function duration(text) {
    const found = /for ([\d.]+)(ns|µs|ms|s)\b/.exec(text);
    return found ? parseFloat(found[1]) * { ns: 1e-6, 'µs': 1e-3, ms: 1, s: 1000 }[found[2]] : null;
  }

  function close(kind, node, t) {
    for (const band of bands) if (band.kind === kind && (node == null || band.node === node) && band.open) { band.t1 = t; band.open = false; }
  }

  function fault(i, text) {
    const t = time[i];
    const at = /node (\d+)/.exec(text);
    const node = at ? +at[1] : null;
    const band = (kind, word, open) => bands.push({ i, t0: t, t1: open ? Infinity : t + duration(text), node, kind, text: word, open });
    if (/^links are cut/.test(text)) band('cut', text.replace(/ for [\d.]+.?s$/, ''), true);
    else if (/links heal/.test(text)) close('cut', null, t);
    else if (/all is mended/.test(text)) { for (const kind of ['cut', 'still', 'slow']) close(kind, null, t); points.push({ i, t, node, text }); }
    else if (/stands still/.test(text)) band('still', 'stands still', true);
    else if (/goes on/.test(text)) close('still', node, t);
    else if (node && duration(text) != null && /disk/.test(text)) band('slow', text.replace(/^node \d+: (the )?/, '').replace(/ for [\d.]+.?s$/, ''), false);
    else points.push({ i, t, node, text });
    if (!/heal|goes on|mended|operator/.test(text)) failures.push(i);
  }

  function at(i) {
    const record = unpack(data.records[i]);
    delete record.since_ns;
    if ('state' in record) record.state = states[i];
    return { step: about.first_step + i, time_ms: time[i], ...record };
  }

  function state(i, r) {
    const node = nodes[r.node - 1];
    const before = node.steps.length ? states[node.steps[node.steps.length - 1]] : null;
    node.steps.push(i);
    states[i] = r.state === 0 ? before : r.state === null ? null : { ...before, ...r.state };
  }

  const sends = new Map();
  function happen(i, r) {
    while (r.node > nodes.length) nodes.push(lane(null, nodes.length));
    if (r.node != null) state(i, r);
    const s = states[i];
    switch (r.event) {
      case 'started': span(r.node, i, s ? s.role : 'forming', s ? s.term : 0); nodes[r.node - 1].marks.push({ i, kind: 'started' }); return;
      case 'ended': span(r.node, i, null); close('still', r.node, time[i]); nodes[r.node - 1].marks.push({ i, kind: 'ended' }); failures.push(i); return;
      case 'refused': nodes[r.node - 1].marks.push({ i, kind: 'refused' }); failures.push(i); return;
      case 'fault': return fault(i, r.text);
      case 'sent': {
        const m = r.message;
        const arrow = { s: i, r: -1, t0: time[i], t1: Infinity, from: r.node, to: m.to.node, kind: m.kind, cls: CLASS[m.kind] || 'read', quiet: QUIET.has(m.kind), label: label(m), full: m.kind === 'append_request' && m.entries.length > 0, no: m.granted === false || m.result === 'conflict' };
        arrows.push(arrow);
        sends.set(i, arrow);
        for (const entry of m.entries || []) passes(entry.write, i);
        break;
      }
      case 'received': {
        const sent = r.sent_in == null ? null : sends.get(r.sent_in - about.first_step);
        if (sent && sent.r < 0) { sent.r = i; sent.t1 = time[i]; }
        else if (sent) arrows.push({ ...sent, r: i, t1: time[i], again: true });
        for (const entry of r.message.entries || []) passes(entry.write, i);
        break;
      }
      case 'ordered': for (const entry of r.entries) passes(entry.write, i); nodes[r.node - 1].marks.push({ i, kind: r.cut ? 'cut' : 'ordered', quiet: !r.entries.length && !r.cut, text: r.entries.length ? String(r.entries[r.entries.length - 1].index) : '' }); break;
      case 'durable': for (const id of r.writes) passes(id, i); nodes[r.node - 1].marks.push({ i, kind: 'durable', text: '' }); break;
      case 'committed': for (const id of r.writes) passes(id, i); nodes[r.node - 1].marks.push({ i, kind: 'committed', text: String(r.index) }); break;
      case 'applied': for (const id of r.writes) passes(id, i); nodes[r.node - 1].marks.push({ i, kind: 'applied', text: String(r.index) }); break;
      case 'role': if (r.role === 'leader' || r.role === 'candidate') elections.push(i); nodes[r.node - 1].marks.push({ i, kind: r.role === 'leader' ? 'elected' : 'role' }); break;
      case 'asked': operations.set(r.operation, { client: r.client, number: r.operation, what: r.what, t0: time[i], t1: Infinity, outcome: null, asked: i, answered: -1, tries: [], write: null }); return;
      case 'tried': {
        passes(r.write, i);
        const operation = operations.get(r.operation);
        if (operation) { operation.tries.push({ i, to: r.to }); operation.write ??= r.write; if (r.write) passes(r.write, operation.asked); }
        return;
      }
      case 'answered': {
        const operation = operations.get(r.operation);
        if (operation) { operation.t1 = time[i]; operation.outcome = r.outcome; operation.answered = i; passes(operation.write, i); }
        return;
      }
    }
    if (s) span(r.node, i, s.role, s.term);
  }

  let now = 0;
  for (let i = 0; i < count; i++) {
    const r = unpack(data.records[i]);
    now += r.since_ns;
    time[i] = now / 1e6;
    happen(i, r);
  }
  for (const list of writes.values()) list.sort((a, b) => a - b);
  // Each client's operations in rows, so that none hides another.
  for (const operation of operations.values()) {
    const client = clients[operation.client];
    if (!client) continue;
    client.free ??= [];
    let row = client.free.findIndex((t) => t <= operation.t0);
    if (row < 0) row = client.free.length;
    client.free[row] = operation.t1;
    operation.row = row;
    client.rows = Math.max(client.rows, row + 1);
    client.operations.push(operation);
  }
  if (about.violation && count) failures.push(count - 1);

  // The first record that is not before a time.
  function find(t) {
    let low = 0, high = count;
    while (low < high) { const mid = (low + high) >> 1; if (time[mid] < t) low = mid + 1; else high = mid; }
    return low;
  }

  return { about, count, time, at, find, nodes, clients, arrows, operations, writes, elections, failures, bands, points, end: Math.max(end(), 1) };
})();
