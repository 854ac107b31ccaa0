// Puts it together: what is shown, what is chosen, and what mouse and keys do.
(() => {
  const { view, canvas } = Diagram;
  const byId = (id) => document.getElementById(id);
  const LEAST = 0.05;
  let pinned = null, hovered = null, planned = false;

  // A step, the arrows that it is an end of, and the path of its write.
  function selection(i) {
    if (i == null) return null;
    const r = Model.at(i);
    const own = r.message ? Model.arrows.filter((arrow) => arrow.s === i || arrow.r === i) : [];
    let operation = Model.operations.get(r.operation);
    const write = r.write ?? operation?.write ?? (r.message?.entries ?? r.entries ?? []).map((entry) => entry.write).find(Boolean) ?? (r.writes?.length === 1 ? r.writes[0] : null);
    const path = (write && Model.writes.get(write)) || [];
    const steps = new Set(path);
    const along = steps.size ? Model.arrows.filter((arrow) => steps.has(arrow.s)) : [];
    operation ??= path.map((step) => Model.at(step)).find((step) => step.event === 'asked');
    const tries = (operation && Model.operations.get(operation.number ?? operation.operation))?.tries ?? [];
    return { i, own, arrows: [...own, ...along], write, path, tries };
  }

  function chosen() {
    return hovered ?? pinned;
  }

  let last = {};
  function render() {
    planned = false;
    const i = chosen();
    const made = last.i === i ? last.made : selection(i);
    Diagram.render(made);
    Overview.render();
    if (last.i !== i || last.pinned !== pinned || last.dark !== Theme.dark) Panel.show(made, i != null && i === pinned, pin);
    last = { i, made, pinned, dark: Theme.dark };
  }

  function plan() {
    if (!planned) { planned = true; requestAnimationFrame(render); }
  }

  function look(a, b) {
    const span = Math.min(Math.max(b - a, LEAST), Model.end * 1.02);
    const middle = (a + b) / 2;
    let start = middle - span / 2;
    start = Math.max(-Model.end * 0.01, Math.min(start, Model.end * 1.01 - span));
    view.a = start;
    view.b = start + span;
    plan();
  }

  const zoom = (factor, at = (view.a + view.b) / 2) => look(at - (at - view.a) * factor, at + (view.b - at) * factor);
  const move = (part) => look(view.a + (view.b - view.a) * part, view.b + (view.b - view.a) * part);

  // Chooses a step, and brings it into sight.
  function pin(i, span = view.b - view.a) {
    pinned = i;
    hovered = null;
    const at = Model.time[i];
    if (at < view.a + span * 0.05 || at > view.b - span * 0.05 || span !== view.b - view.a) look(at - span / 2, at + span / 2);
    history.replaceState(null, '', `#step=${Model.about.first_step + i}`);
    plan();
  }

  function unpin() {
    pinned = hovered = null;
    history.replaceState(null, '', location.pathname + location.search);
    plan();
  }

  // The next of these steps, or the last one before.
  function jump(list, forward) {
    const from = pinned ?? Model.find((view.a + view.b) / 2);
    const found = forward ? list.find((i) => i > from) : list.findLast((i) => i < from);
    if (found != null) pin(found, Math.min(view.b - view.a, 1000));
  }

  function along(forward) {
    if (pinned == null) return;
    const r = Model.at(pinned);
    const client = Model.clients[r.client];
    const list = r.node != null ? Model.nodes[r.node - 1].steps : client ? client.operations.map((operation) => operation.asked) : Model.failures;
    const found = forward ? list.find((i) => i > pinned) : list.findLast((i) => i < pinned);
    if (found != null) pin(found);
  }

  function quiet(on) {
    view.quiet = on;
    byId('heartbeats').checked = on;
    plan();
  }

  function theme(dark) {
    Theme.set(dark);
    plan();
  }

  function head() {
    const { about } = Model;
    document.title = `seed ${about.seed}${about.violation ? ' fails' : ''}`;
    byId('title').textContent = `Seed ${about.seed}`;
    const seconds = (about.ended_ns / 1e9).toFixed(1);
    const one = (count, word) => `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;
    byId('facts').textContent = `${one(about.nodes, 'node')}, ${one(about.clients, 'client')}, ${seconds} s · ${one(about.elections, 'election')}, ${about.committed.toLocaleString('en')} entries committed, ${one(about.acknowledged, 'operation')} acknowledged · ${one(Model.count, 'step')} · faults: ${about.faults}`;
    const verdict = byId('verdict');
    const bad = about.violation, doubt = about.inconclusive;
    if (!bad && !doubt) return;
    verdict.hidden = false;
    verdict.className = bad ? '' : 'doubt';
    const text = document.createElement('p');
    const name = document.createElement('b');
    name.textContent = bad ? `Violated: ${bad.invariant}. ` : 'Not judged. ';
    text.append(name, bad ? bad.what : doubt);
    const command = document.createElement('code');
    command.textContent = about.command;
    verdict.append(text, 'Again: ', command);
  }

  function fragment() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (wanted.has('theme')) Theme.set(wanted.get('theme') === 'dark');
    if (wanted.has('heartbeats')) quiet(wanted.get('heartbeats') !== '0');
    if (wanted.has('from')) look(+wanted.get('from'), +(wanted.get('to') ?? Model.end));
    const i = +wanted.get('step') - Model.about.first_step;
    if (wanted.has('step') && i >= 0 && i < Model.count) pin(i, wanted.has('from') ? undefined : +(wanted.get('span') ?? Math.min(view.b - view.a, 200)));
    plan();
  }

  function find(text) {
    const wanted = text.trim();
    const path = Model.writes.get(wanted);
    if (path) return pin(path[0], Math.max(1.4 * (Model.time[path[Math.min(path.length - 1, 30)]] - Model.time[path[0]]), 5));
    const i = +wanted - Model.about.first_step;
    if (wanted !== '' && Number.isInteger(i) && i >= 0 && i < Model.count) pin(i, Math.min(view.b - view.a, 200));
  }

  function local(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  let drag = null;
  canvas.addEventListener('pointerdown', (event) => {
    const [px] = local(event);
    drag = { px, a: view.a, b: view.b, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    const [px, py] = local(event);
    if (drag) {
      if (Math.abs(px - drag.px) > 3) drag.moved = true;
      if (!drag.moved) return;
      canvas.classList.add('moving');
      const by = ((drag.px - px) / (canvas.clientWidth - Diagram.GUTTER - 10)) * (drag.b - drag.a);
      return look(drag.a + by, drag.b + by);
    }
    const found = Diagram.pick(px, py);
    canvas.classList.toggle('on', found != null);
    if (found !== hovered) { hovered = found; plan(); }
  });
  canvas.addEventListener('pointerup', (event) => {
    canvas.classList.remove('moving');
    if (drag && !drag.moved) { const found = Diagram.pick(...local(event)); if (found == null) unpin(); else pin(found); }
    drag = null;
  });
  canvas.addEventListener('pointerleave', () => { if (hovered != null && !drag) { hovered = null; plan(); } });
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return move((event.deltaX || event.deltaY) / 1500);
    zoom(Math.exp(event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), Diagram.t(local(event)[0]));
  }, { passive: false });
  canvas.addEventListener('dblclick', (event) => zoom(0.3, Diagram.t(local(event)[0])));

  // In the strip: drag the window, or draw a new one.
  let choice = null;
  Overview.canvas.addEventListener('pointerdown', (event) => {
    const at = Overview.t(event.offsetX);
    const within = at > view.a && at < view.b && view.b - view.a < Model.end * 0.98;
    choice = { at, a: view.a, b: view.b, within };
    Overview.canvas.setPointerCapture(event.pointerId);
  });
  Overview.canvas.addEventListener('pointermove', (event) => {
    if (!choice) return;
    const at = Overview.t(event.offsetX);
    if (choice.within) look(choice.a + at - choice.at, choice.b + at - choice.at);
    else if (Math.abs(Overview.x(at) - Overview.x(choice.at)) > 3) { choice.drawn = true; look(Math.min(at, choice.at), Math.max(at, choice.at)); }
  });
  Overview.canvas.addEventListener('pointerup', () => {
    const span = Math.min(view.b - view.a, Model.end / 8);
    if (choice && !choice.within && !choice.drawn) look(choice.at - span / 2, choice.at + span / 2);
    choice = null;
  });

  const KEYS = {
    ArrowLeft: () => move(-0.15), ArrowRight: () => move(0.15), '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6),
    0: () => look(0, Model.end), e: () => jump(Model.elections, true), E: () => jump(Model.elections, false),
    f: () => jump(Model.failures, true), F: () => jump(Model.failures, false), j: () => along(true), k: () => along(false),
    h: () => quiet(!view.quiet), t: () => theme(!Theme.dark), Escape: unpin,
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT/.test(event.target.tagName)) return;
    const act = KEYS[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  const BUTTONS = {
    'zoom-in': '+', 'zoom-out': '-', 'zoom-all': '0', 'election-before': 'E', 'election-after': 'e', 'failure-before': 'F', 'failure-after': 'f', theme: 't',
  };
  for (const [id, key] of Object.entries(BUTTONS)) byId(id).addEventListener('click', () => KEYS[key]());
  byId('heartbeats').addEventListener('change', (event) => quiet(event.target.checked));
  byId('find').addEventListener('submit', (event) => { event.preventDefault(); find(byId('wanted').value); });
  addEventListener('resize', plan);
  addEventListener('hashchange', fragment);
  Theme.set(matchMedia('(prefers-color-scheme: dark)').matches);
  head();
  look(0, Model.end);
  fragment();
})();
