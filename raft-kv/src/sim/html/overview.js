// The whole run in a strip, and which part of it the diagram shows.
const Overview = (() => {
  const canvas = document.getElementById('overview');
  const LEFT = Diagram.GUTTER;
  let width = 0;

  const x = (t) => LEFT + (t / Model.end) * (width - LEFT - 10);
  const t = (px) => ((px - LEFT) / (width - LEFT - 10)) * Model.end;

  function render() {
    const fitted = Theme.fit(canvas);
    const { ctx, height } = fitted;
    width = fitted.width;
    const colour = Theme.is;
    const top = 16, bottom = height - 16;
    const lane = (bottom - top) / Model.nodes.length;
    ctx.fillStyle = colour.raised;
    ctx.fillRect(LEFT, 8, width - LEFT, height - 22);
    for (const band of Model.bands) {
      const x1 = x(Math.min(band.t1, Model.end));
      if (band.kind === 'cut') {
        ctx.fillStyle = colour.cut;
        ctx.fillRect(x(band.t0), 8, x1 - x(band.t0), height - 22);
        ctx.fillStyle = colour['cut-edge'];
        ctx.fillRect(x(band.t0), 8, Math.max(x1 - x(band.t0), 1), 2.5);
      } else if (band.node) {
        ctx.fillStyle = band.kind === 'still' ? colour.still : colour.slow;
        ctx.fillRect(x(band.t0), top + lane * (band.node - 1), x1 - x(band.t0), lane);
      }
    }
    const scale = Math.min(0.75, (lane - 2) / 14);
    Model.nodes.forEach((node, n) => {
      const y = top + lane * (n + 0.5);
      for (const span of node.spans) Theme.bar(ctx, span.role, x(span.t0), x(Math.min(span.t1, Model.end)), y, scale);
      for (const mark of node.marks) if (mark.kind === 'ended' || mark.kind === 'refused') Theme.cross(ctx, x(Model.time[mark.i]), y, 2.5, colour.bad, 1.3);
      ctx.fillStyle = colour.soft;
      ctx.textAlign = 'left';
      ctx.textBaseline = 'middle';
      if (lane > 8) ctx.fillText(`node ${node.id}`, 0, y);
    });
    if (Model.about.violation) { ctx.fillStyle = colour.bad; ctx.fillRect(x(Model.about.ended_ns / 1e6) - 1, 4, 2, height - 18); }
    scaleBelow(ctx, colour, height);
    shown(ctx, colour, height);
  }

  function scaleBelow(ctx, colour, height) {
    const step = [1, 2, 5, 10, 20, 50, 100].map((s) => s * 1000).find((s) => Model.end / s < 14) || Model.end / 10;
    ctx.fillStyle = colour.faint;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'alphabetic';
    for (let at = 0; at <= Model.end; at += step) ctx.fillText(Diagram.clock(at, step), Math.max(x(at), LEFT + 8), height - 2);
  }

  // What is not shown lies in the shade.
  function shown(ctx, colour, height) {
    const [x0, x1] = [x(Diagram.view.a), Math.max(x(Diagram.view.b), x(Diagram.view.a) + 2)];
    ctx.fillStyle = colour.shade;
    ctx.fillRect(LEFT, 8, Math.max(0, x0 - LEFT), height - 22);
    ctx.fillRect(x1, 8, Math.max(0, width - x1), height - 22);
    ctx.strokeStyle = colour.ink;
    ctx.lineWidth = 1.2;
    ctx.strokeRect(x0, 8, x1 - x0, height - 22);
  }

  return { canvas, render, t, x };
})();
