/* What all charts have in common. uPlot draws them. */

const charts = [];
const palette = new Map();

/** The colour that the style sheet has for `name` now. */
function colour(name) {
  if (!palette.has(name)) {
    palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }
  return palette.get(name);
}

/** Draws all charts anew, in the colours that hold now. */
function repaint() {
  palette.clear();
  for (const chart of charts) chart.redraw(false);
}

/** How wide charts are on paper. */
const PAPER = 680;

/** Has charts fit onto paper, which is white; or onto the screen again. */
function usePaper(isPrinting) {
  document.documentElement.classList.toggle("printing", isPrinting);
  for (const chart of charts) {
    chart.setSize({ width: isPrinting ? PAPER : widthFor(chart.root.parentElement), height: chart.height });
  }
  repaint();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
addEventListener("beforeprint", () => usePaper(true));
addEventListener("afterprint", () => usePaper(false));

/** An axis in the colours of the page, with what else `options` say. */
function axis(options) {
  return {
    stroke: () => colour("quiet"),
    grid: { stroke: () => colour("line"), width: 1 },
    ticks: { stroke: () => colour("line"), width: 1 },
    ...options,
  };
}

/** A line in the colour that is called `name`. */
function line(label, name, options) {
  return { label, stroke: () => colour(name), width: 1.5, points: { show: false }, ...options };
}

/** How wide a chart in `place` is. */
function widthFor(place) {
  return Math.max(place.clientWidth, 200);
}

/** Adds a chart to `parent` that is as wide as that and stays so. */
function addChart(parent, options, data) {
  const place = element("div", { className: "chart" });
  parent.append(place);
  const chart = new uPlot({ width: widthFor(place), ...options }, data, place);
  new ResizeObserver(() => {
    const width = widthFor(place);
    if (chart.width !== width) chart.setSize({ width, height: options.height });
  }).observe(place);
  charts.push(chart);
  return chart;
}

/** Draws a dotted line through `chart` where its x is `value`, with `text` beside it. */
function mark(chart, value, text) {
  const { ctx, bbox } = chart;
  const x = Math.round(chart.valToPos(value, "x", true));
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("quiet");
  ctx.setLineDash([4, 4]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.fillText(text, x + 4 * devicePixelRatio, bbox.top + 4 * devicePixelRatio);
  ctx.restore();
}

/** Adds the chart of what other numbers of workers would make of the run to `parent`. */
function addCores(parent) {
  const of = [
    [report.cores, "this run", "compiled"],
    [report.cores_of_all, "everything compiled", "step"],
  ].filter(([cores]) => cores);
  if (of.length === 0) {
    parent.append(element("p", {}, "Nothing was run, and no compile is known."));
    return;
  }
  const workers = of[0][0].rows.map((row) => row.workers);
  const data = [workers];
  const series = [{ label: "workers" }];
  for (const [cores, text, name] of of) {
    const value = (_, seconds) => time(seconds);
    data.push(cores.rows.map((row) => row.seconds), cores.rows.map((row) => row.bound));
    series.push(line(text, name, { value, width: 2, points: { show: true, size: 6 } }));
    series.push(line(`${text}: what no order can beat`, name, { value, dash: [4, 4] }));
  }
  addChart(parent, {
    height: 300,
    // In steps of two, so that twice the workers in half the time are a straight line.
    scales: { x: { time: false, distr: 3, log: 2 }, y: { distr: 3, log: 2 } },
    axes: [
      axis({ label: "workers", labelSize: 20, values: (_, splits) => splits, stroke: () => colour("quiet") }),
      axis({ values: (_, splits) => splits.map((at) => (at === null ? "" : time(at))), size: 90 }),
    ],
    series,
    hooks: { draw: [(chart) => mark(chart, run.workers, `${count(run.workers)}, as it was`)] },
  }, data);
}
