/* The timeline: a row for each worker with all jobs, and what the machine did meanwhile. */

/** What jobs are called that are steps: the number of step 0 is -1, of step 1 -2. */
const stepOf = (item) => run.steps[-1 - item];

/**
 * The rows of the timeline: `title`, and of each span in it, in the order of time, its `begin`, its `end`, and the
 * `item` that it is of, the number of a module or of a step.
 */
function rowsOf() {
  const rows = [];
  // Steps of several trees overlap: each goes to the first row that has room.
  run.steps.forEach((step, number) => {
    let row = rows.find((one) => one.spans.at(-1).end <= step.begin);
    if (!row) rows.push(row = { title: rows.length === 0 ? "links" : "", spans: [] });
    row.spans.push({ begin: step.begin, end: step.begin + step.seconds, item: -1 - number });
  });
  const workers = Array.from({ length: run.workers }, (_, number) => ({ title: `worker ${number}`, spans: [] }));
  run.modules.forEach(({ span }, item) => {
    if (span) workers[span.worker].spans.push({ begin: span.begin, end: span.begin + span.seconds, item });
  });
  return [...rows, ...workers].map(({ title, spans }) => {
    // A worker does one thing at a time; what it says of an end comes a moment later.
    spans.sort((one, other) => one.end - other.end);
    let last = 0;
    for (const span of spans) {
      span.begin = Math.min(Math.max(span.begin, last), span.end);
      last = span.end;
    }
    return {
      title,
      begin: Float64Array.from(spans, (span) => span.begin),
      end: Float64Array.from(spans, (span) => span.end),
      item: Int32Array.from(spans, (span) => span.item),
    };
  });
}

/** The first span of `row` that ends after `time`. */
function firstAfter(row, time) {
  let low = 0;
  let high = row.end.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row.end[middle] > time) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** How many workers were busy, on average, in each of many stretches of the run. */
function busyWorkers(stretches) {
  const length = run.seconds / stretches;
  const busy = new Float64Array(stretches);
  for (const { span } of run.modules) {
    if (!span) continue;
    const end = Math.min(span.begin + span.seconds, run.seconds);
    for (let at = span.begin; at < end;) {
      const number = Math.min(Math.floor(at / length), stretches - 1);
      const until = number === stretches - 1 ? end : Math.min(end, (number + 1) * length);
      busy[number] += (until - at) / length;
      // Rounding must not keep it where it is.
      at = Math.max(until, at + length * 1e-9);
    }
  }
  const middles = Array.from(busy, (value, number) => [(number + 0.5) * length, value]);
  return [[0, busy[0]], ...middles, [run.seconds, busy[stretches - 1]]];
}

/** Joins [time, value] pairs of two series into the columns that uPlot wants. */
function joined(one, other) {
  const columns = (pairs) => [pairs.map(([at]) => at), pairs.map(([, value]) => value)];
  return uPlot.join([columns(one), columns(other)]);
}

/**
 * Adds the timeline to `place`, and what the machine did to `load`.
 *
 * Returns what changes it: `match` (which modules to show, all of them without a set), `select` (a module),
 * `zoom` (by a factor, around a time), `pan` (by a share of what is seen), `whole`.
 */
function addTimeline(place, load) {
  const rows = rowsOf();
  const height = Math.max(3, Math.min(22, 640 / rows.length));
  const total = Math.max(run.seconds, 1e-6);
  let matches = null;
  let selected = null;

  const sideways = {
    scales: { x: { time: false, range: (_, from, to) => [from ?? 0, to ?? total] } },
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: true }, sync: { key: "time", scales: ["x", null] } },
    legend: { show: false },
  };
  const times = (_, splits) => splits.map((at) => `${+at.toFixed(6)} s`);
  const labels = Math.max(1, Math.ceil(14 / height));
  // Beside both charts, so that they show the same times at the same places.
  const [leftSide, rightSide] = [80, 80];

  const chart = addChart(place, {
    ...sideways,
    height: rows.length * height + 50,
    padding: [null, rightSide, null, null],
    scales: { ...sideways.scales, y: { range: () => [0, rows.length], dir: -1 } },
    axes: [
      axis({ values: times, space: 80, grid: { show: false } }),
      axis({
        size: leftSide,
        splits: () => rows.map((_, number) => number + 0.5),
        values: () => rows.map((row, number) => (number % labels === 0 ? row.title : "")),
        grid: { show: false },
        ticks: { show: false },
      }),
    ],
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: { draw: [draw] },
  }, [[0, total], [null, null]]);

  const machine = addChart(load, {
    ...sideways,
    height: 150,
    padding: [null, 0, null, null],
    scales: { ...sideways.scales, workers: { range: [0, run.workers] }, memory: { range: (_, __, most) => [0, most * 1.1] } },
    axes: [
      axis({ values: times, space: 80 }),
      axis({ scale: "workers", size: leftSide, values: (_, splits) => splits.map((n) => (n % 1 ? "" : `${n} busy`)) }),
      axis({ scale: "memory", side: 1, size: rightSide, values: (_, splits) => splits.map(size), grid: { show: false } }),
    ],
    series: [
      {},
      line("busy workers", "compiled", { scale: "workers", fill: () => `${colour("compiled")}33`, spanGaps: true }),
      line("memory", "memory", { scale: "memory", spanGaps: true }),
    ],
  }, joined(busyWorkers(Math.min(2000, 20 * run.modules.length + 100)), run.memory));

  // What is seen of one is seen of the other.
  for (const [one, other] of [[chart, machine], [machine, chart]]) {
    (one.hooks.setScale ??= []).push((_, key) => {
      const { min, max } = one.scales.x;
      const same = other.scales.x.min === min && other.scales.x.max === max;
      if (key === "x" && !same) other.setScale("x", { min, max });
    });
  }

  function draw({ ctx, bbox, scales }) {
    const { min, max } = scales.x;
    const perSecond = bbox.width / (max - min);
    const tall = bbox.height / rows.length;
    const pad = tall > 8 ? devicePixelRatio : 0;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    rows.forEach((row, number) => {
      const top = bbox.top + number * tall + pad;
      let drawn = -1;
      for (let at = firstAfter(row, min); at < row.begin.length && row.begin[at] < max; at += 1) {
        const left = bbox.left + (row.begin[at] - min) * perSecond;
        const right = bbox.left + (row.end[at] - min) * perSecond;
        const item = row.item[at];
        // Of jobs within one pixel the first is seen, and any that is looked for.
        if (right < drawn && item !== selected && !matches?.has(item)) continue;
        const width = Math.max(right - left - (right - left > 3 ? 1 : 0), 1);
        box(ctx, item, Math.max(left, bbox.left - 10), top, Math.min(width, bbox.width + 20), tall - 2 * pad);
        drawn = Math.floor(left) + 1;
      }
    });
    ctx.restore();
  }

  function box(ctx, item, left, top, width, tall) {
    const kind = item < 0 ? "step" : kindOf(run.modules[item]);
    ctx.globalAlpha = matches && !matches.has(item) ? 0.15 : 1;
    ctx.fillStyle = colour(kind);
    ctx.fillRect(left, top, width, tall);
    if (item === selected) {
      ctx.strokeStyle = colour("text");
      ctx.lineWidth = 2 * devicePixelRatio;
      ctx.strokeRect(left, top, width, tall);
    }
    const letters = Math.floor((width / devicePixelRatio - 8) / 6.2);
    if (letters >= 4 && tall >= 12 * devicePixelRatio) {
      const name = item < 0 ? stepOf(item).name : names[item].split("/").at(-1);
      const text = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
      ctx.fillStyle = colour("on-job");
      ctx.fillText(text, left + 4 * devicePixelRatio, top + tall / 2);
    }
    ctx.globalAlpha = 1;
  }

  /** What is drawn where the mouse is, if anything. */
  function itemAt(event) {
    const inside = chart.over.getBoundingClientRect();
    const row = rows[Math.floor((event.clientY - inside.top) / inside.height * rows.length)];
    if (!row) return null;
    const x = event.clientX - inside.left;
    // What is narrower than a pixel is there too.
    const [from, to] = [chart.posToVal(x - 1, "x"), chart.posToVal(x + 1, "x")];
    const at = firstAfter(row, from);
    return at < row.begin.length && row.begin[at] <= to ? row.item[at] : null;
  }

  chart.over.addEventListener("mousemove", (event) => showTip(event, itemAt(event)));
  chart.over.addEventListener("mouseleave", (event) => showTip(event, null));
  chart.over.addEventListener("click", (event) => {
    const item = itemAt(event);
    if (item !== null && item >= 0) choose(item, false);
  });

  const limits = () => ({ min: chart.scales.x.min, max: chart.scales.x.max });
  function see(min, max) {
    const width = Math.min(Math.max(max - min, total * 1e-6), total);
    const from = Math.min(Math.max(min, 0), total - width);
    chart.setScale("x", { min: from, max: from + width });
  }
  function zoom(factor, around) {
    const { min, max } = limits();
    const middle = around ?? (min + max) / 2;
    see(middle - (middle - min) * factor, middle + (max - middle) * factor);
  }
  function pan(part) {
    const { min, max } = limits();
    const way = part * (max - min);
    const from = Math.min(Math.max(min + way, 0), total - (max - min));
    see(from, from + (max - min));
  }

  place.addEventListener("wheel", (event) => {
    const sidewards = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey) {
      zoom(event.deltaY < 0 ? 0.8 : 1.25, chart.posToVal(event.clientX - chart.over.getBoundingClientRect().left, "x"));
    } else if (Math.abs(sidewards) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      pan(sidewards / 1000);
    } else {
      return;
    }
    event.preventDefault();
  }, { passive: false });

  return {
    chart,
    match(set) {
      matches = set;
      chart.redraw(false);
    },
    select(item) {
      selected = item;
      chart.redraw(false);
    },
    zoom,
    pan,
    whole: () => see(0, total),
  };
}
