// Colours by name, as the style sheet has them, and small shapes.
const Theme = (() => {
  const root = document.documentElement;
  let colours = {};
  const hatches = new Map();

  function read() {
    const style = getComputedStyle(root);
    colours = {};
    for (const name of ['page', 'raised', 'ink', 'soft', 'faint', 'line', 'grid', 'leader', 'candidate', 'pre-candidate', 'follower', 'learner', 'forming', 'append', 'reply', 'vote', 'read', 'heartbeat', 'lost', 'bad', 'good', 'cut', 'cut-edge', 'slow', 'still', 'still-edge', 'shade', 'select', 'halo', 'put', 'get']) {
      colours[name] = style.getPropertyValue('--' + name).trim();
    }
    hatches.clear();
  }

  function set(dark) {
    root.classList.toggle('dark', dark);
    read();
  }

  // Diagonal lines of a colour, as a fill.
  function hatch(ctx, name) {
    if (!hatches.has(name)) {
      const tile = document.createElement('canvas');
      tile.width = tile.height = 6;
      const pen = tile.getContext('2d');
      pen.strokeStyle = colours[name];
      pen.lineWidth = 1.6;
      pen.beginPath();
      for (const x of [-6, 0, 6]) { pen.moveTo(x, 6); pen.lineTo(x + 6, 0); }
      pen.stroke();
      hatches.set(name, ctx.createPattern(tile, 'repeat'));
    }
    return hatches.get(name);
  }

  // A role's bar: how high it is, and how it is filled, so that colour alone need not tell.
  function bar(ctx, role, x0, x1, y, scale = 1) {
    const width = Math.max(x1 - x0, 0.7);
    const height = { leader: 14, candidate: 10, 'pre-candidate': 8, follower: 3, learner: 3, forming: 1.5 }[role] * scale;
    const top = y - height / 2;
    ctx.fillStyle = colours[role];
    if (role === 'candidate') {
      ctx.fillStyle = hatch(ctx, 'candidate');
      ctx.fillRect(x0, top, width, height);
      outline(ctx, colours.candidate, x0, top, width, height);
    } else if (role === 'pre-candidate') {
      ctx.fillStyle = colours.page;
      ctx.fillRect(x0, top, width, height);
      outline(ctx, colours['pre-candidate'], x0, top, width, height);
    } else if (role === 'learner') {
      for (let x = x0; x < x1; x += 7) ctx.fillRect(x, top, Math.min(4, x1 - x), height);
    } else {
      ctx.fillRect(x0, top, width, height);
    }
  }

  function outline(ctx, colour, x, y, width, height) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1;
    if (width > 2) ctx.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    else { ctx.fillStyle = colour; ctx.fillRect(x, y, width, height); }
  }

  function cross(ctx, x, y, size, colour, weight = 1.5) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = weight;
    ctx.beginPath();
    ctx.moveTo(x - size, y - size); ctx.lineTo(x + size, y + size);
    ctx.moveTo(x - size, y + size); ctx.lineTo(x + size, y - size);
    ctx.stroke();
  }

  function diamond(ctx, x, y, size) {
    ctx.beginPath();
    ctx.moveTo(x, y - size); ctx.lineTo(x + size, y); ctx.lineTo(x, y + size); ctx.lineTo(x - size, y);
    ctx.closePath();
  }

  // Text on a halo of the page's colour.
  function say(ctx, text, x, y, colour, halo = true) {
    if (halo) {
      ctx.strokeStyle = colours.halo;
      ctx.lineWidth = 3;
      ctx.lineJoin = 'round';
      ctx.strokeText(text, x, y);
    }
    ctx.fillStyle = colour;
    ctx.fillText(text, x, y);
  }

  // A canvas as large as it is shown, in the screen's pixels.
  function fit(canvas) {
    const scale = window.devicePixelRatio || 1;
    const { width, height } = canvas.getBoundingClientRect();
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    const ctx = canvas.getContext('2d');
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.font = '11px system-ui, "DejaVu Sans", sans-serif';
    return { ctx, width, height };
  }

  return { set, read, bar, cross, diamond, say, fit, hatch, get is() { return colours; }, get dark() { return root.classList.contains('dark'); } };
})();
