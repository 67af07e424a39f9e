/* Puts the parts of the page together. */

const find = (id) => document.getElementById(id);
const timeline = addTimeline(find("jobs"), find("load"));

/** Says what `item` of the timeline is, beside the mouse; nothing where there is none. */
function showTip(event, item) {
  const tip = find("tip");
  tip.hidden = item === null;
  if (item === null) return;
  const lines = item < 0 ? linesOfStep(stepOf(item)) : linesOfModule(item);
  const [name, ...others] = lines;
  tip.replaceChildren(element("b", {}, name), ...others.map((text) => element("div", {}, text)));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 8))}px`;
}

function linesOfStep(step) {
  const place = run.places[step.place ?? 0];
  return [place ? `${step.name} of ${place}` : step.name, `${time(step.seconds)}, from ${time(step.begin)} on`];
}

function linesOfModule(number) {
  const module = run.modules[number];
  const lines = [names[number]];
  if (module.span) lines.push(`${time(module.span.seconds)}, ${KINDS[kindOf(module)]}${module.audited ? ", audited" : ""}`);
  lines.push(`bitcode ${size(module.bytes)}, object ${size(module.object_bytes)}`);
  lines.push(`imports from ${count(module.imports?.length ?? 0)}, imported by ${count(importers[number].length)}`);
  for (const why of (module.why ?? []).slice(0, 3)) lines.push(`because ${why}`);
  if (module.error) lines.push(module.error);
  return lines;
}

/** Shows all that is known of module `number`; with `move`, where that is shown. */
function choose(number, move) {
  const module = run.modules[number];
  const list = element("dl");
  const add = (term, ...content) => list.append(element("dt", {}, term), element("dd", {}, ...content));
  add("object", `${KINDS[kindOf(module)]}${module.audited ? ", compiled and compared (audit)" : ""}`);
  if (module.error) add("error", module.error);
  for (const why of module.why ?? []) add("because", why);
  if (module.span) {
    const { worker, begin, seconds } = module.span;
    add("ran", `${time(seconds)} on worker ${worker}, from ${time(begin)} on`);
  }
  if (module.cpu_seconds) add("LLVM", `${time(module.cpu_seconds)} of CPU`);
  if (module.compile_seconds !== undefined) add("last compile", time(module.compile_seconds));
  add("size", `bitcode ${size(module.bytes)}, object ${size(module.object_bytes)}`);
  const edit = report.edits[number];
  if (edit) add("an edit", `${plural(edit.backends, "backend")}, ${time(edit.together)} together, ${time(edit.seconds)} on ${plural(run.workers, "worker")}`);
  addNames(add, "imports from", module.imports ?? []);
  addNames(add, "imported by", importers[number]);
  find("details").replaceChildren(element("h3", {}, names[number]), list);
  timeline.select(number);
  if (move) find("details").scrollIntoView({ block: "center" });
}

function addNames(add, term, numbers) {
  if (numbers.length === 0) return;
  const shown = numbers.slice(0, 40).map((number) => element("li", {}, nameButton(number, names[number])));
  const left = numbers.length - shown.length;
  add(`${term} ${count(numbers.length)}`, element("ul", { className: "names" }, ...shown), left > 0 ? `and ${count(left)} more` : "");
}

function addHead() {
  const what = run.link ? `${run.link}, linked in ${run.directory}` : run.directory;
  find("title").textContent = `Build of ${what}`;
  document.title = `backlto report: ${what}`;
  find("about").textContent = `${date(run.began)}, backlto ${run.backlto} with LLVM ${run.llvm}, ${plural(run.workers, "worker")}`;
  addFindings(find("run"), report.findings.run);
}

function addLegend() {
  const seen = new Set(run.modules.filter((module) => module.span).map(kindOf));
  const items = Object.entries(KINDS).filter(([kind]) => seen.has(kind));
  if (run.steps.length > 0) items.push(["step", "link"]);
  find("legend").append(...items.map(([kind, text]) => {
    const square = element("i");
    square.style.background = `var(--${kind})`;
    return element("span", {}, square, text);
  }));
  const ran = run.modules.filter((module) => module.span).length;
  find("jobs").ariaLabel = `Timeline of ${plural(ran, "job")} on ${plural(run.workers, "worker")}`;
}

function addModules() {
  const numbers = run.modules.map((_, number) => number);
  const of = (get) => (number) => get(run.modules[number]);
  const show = addTable(find("modules"), {
    id: "all-modules",
    caption: "modules",
    columns: [
      { title: "Module", value: (number) => names[number], module: (number) => number },
      { title: "Took", value: of((one) => one.span?.seconds ?? 0), text: of((one) => time(one.span?.seconds)) },
      { title: "LLVM's CPU", value: of((one) => one.cpu_seconds ?? 0), text: of((one) => time(one.cpu_seconds)) },
      { title: "Bitcode", value: of((one) => one.bytes), text: of((one) => size(one.bytes)) },
      { title: "Object", value: of((one) => one.object_bytes), text: of((one) => size(one.object_bytes)) },
      { title: "Imports from", value: of((one) => one.imports?.length ?? 0) },
      { title: "How", value: of((one) => KINDS[kindOf(one)]) },
      { title: "Why", value: of((one) => one.error ?? (one.why ?? []).join("; ")) },
    ],
    rows: numbers,
  });
  const lower = names.map((name) => name.toLowerCase());
  find("search").addEventListener("input", () => {
    const wanted = find("search").value.trim().toLowerCase();
    const found = wanted ? numbers.filter((number) => lower[number].includes(wanted)) : numbers;
    find("found").textContent = wanted ? `${count(found.length)} of ${count(numbers.length)} modules` : "";
    timeline.match(wanted ? new Set(found) : null);
    show(found);
  });
}

function addTraces() {
  if (run.functions.length + run.passes.length === 0) return;
  unhide("llvm");
  const place = element("div", { className: "columns" });
  find("llvm").append(element("p", {}, "By LLVM's own time trace, which leaves out what takes less than 0.2 ms."), place);
  const [left, right] = [element("div"), element("div")];
  place.append(left, right);
  addTable(left, {
    id: "functions",
    caption: "functions that took longest",
    columns: [
      { title: "Function", value: (one) => one.name },
      { title: "Took", value: (one) => one.seconds, text: (one) => time(one.seconds) },
      { title: "In", value: (one) => names[one.module], module: (one) => one.module },
    ],
    rows: run.functions,
  });
  addTable(right, {
    id: "passes",
    caption: "what LLVM did, less what it did within",
    columns: [
      { title: "Pass", value: (one) => one.name },
      { title: "Took", value: (one) => one.seconds, text: (one) => time(one.seconds) },
    ],
    rows: run.passes,
  });
}

function addImports() {
  const section = find("imports");
  addFindings(section, report.findings.imports);
  const rows = names.map((_, number) => number).filter((number) => importers[number].length > 0);
  if (rows.length === 0) {
    section.append(element("p", {}, "No module is known to import from another."));
    return;
  }
  const edit = (number) => report.edits[number];
  const columns = [
    { title: "Module", value: (number) => names[number], module: (number) => number },
    { title: "Imported by", value: (number) => importers[number].length, text: (number) => count(importers[number].length) },
    { title: "Imports from", value: (number) => run.modules[number].imports?.length ?? 0 },
  ];
  if (report.edits.length > 0) {
    columns.push(
      { title: "An edit: backends together", value: (number) => edit(number).together, text: (number) => time(edit(number).together) },
      {
        title: `On ${plural(run.workers, "worker")}`,
        value: (number) => edit(number).seconds,
        text: (number) => time(edit(number).seconds),
      },
    );
  }
  addTable(section, { id: "imported", caption: "modules that others import from", columns, rows });
}

function addOrigins() {
  const section = find("caches");
  const kinds = Object.keys(KINDS).map((kind) => {
    const modules = run.modules.filter((module) => kindOf(module) === kind);
    return {
      kind,
      modules: modules.length,
      bytes: sum(modules.map((module) => module.object_bytes)),
      seconds: sum(modules.map((module) => module.span?.seconds ?? 0)),
    };
  });
  addTable(section, {
    id: "origins",
    caption: "ways in which objects came to be",
    columns: [
      { title: "Objects", value: (row) => KINDS[row.kind] },
      { title: "Modules", value: (row) => row.modules, text: (row) => count(row.modules) },
      { title: "Share", value: (row) => row.modules, text: (row) => share(row.modules, run.modules.length) },
      { title: "Size", value: (row) => row.bytes, text: (row) => size(row.bytes) },
      { title: "Workers' time", value: (row) => row.seconds, text: (row) => time(row.seconds) },
    ],
    rows: kinds.filter((row) => row.modules > 0),
  });
  addFindings(section, report.findings.caches);
}

function addBytes() {
  const directories = new Map();
  run.modules.forEach((module, number) => {
    const name = names[number].split("/").slice(0, -1).slice(0, 2).join("/") || ".";
    const row = directories.get(name) ?? { name, modules: 0, bitcode: 0, objects: 0, seconds: 0 };
    row.modules += 1;
    row.bitcode += module.bytes;
    row.objects += module.object_bytes;
    row.seconds += module.compile_seconds ?? 0;
    directories.set(name, row);
  });
  const all = sum([...directories.values()].map((row) => row.objects));
  addTable(find("bytes"), {
    id: "directories",
    caption: "directories",
    columns: [
      { title: "Directory", value: (row) => row.name },
      { title: "Objects", value: (row) => row.objects, text: (row) => size(row.objects) },
      { title: "Share", value: (row) => row.objects, text: (row) => share(row.objects, all) },
      { title: "Bitcode", value: (row) => row.bitcode, text: (row) => size(row.bitcode) },
      { title: "Modules", value: (row) => row.modules, text: (row) => count(row.modules) },
      { title: "Compiles", value: (row) => row.seconds, text: (row) => time(row.seconds) },
    ],
    rows: [...directories.values()],
  });
  find("bytes").append(element("p", { className: "hint" }, "The largest objects: sort the slowest modules by “Object”."));
}

function addDifference() {
  const difference = report.against;
  if (!difference) return;
  unhide("against");
  const section = find("against");
  const { other } = difference;
  section.append(element("p", {}, `The other run: ${other.directory}, ${date(other.began)}, ${plural(other.workers, "worker")}.`));
  addFindings(section, report.findings.against);
  const name = { title: "Module", value: (row) => names[row.module], module: (row) => row.module };
  const changes = (id, caption, rows, text, by) => rows.length > 0 && addTable(section, {
    id,
    caption,
    columns: [
      name,
      { title: "Difference", value: (row) => by * (row.now - row.before), text: (row) => `${row.now < row.before ? "−" : "+"}${text(Math.abs(row.now - row.before))}` },
      { title: "There", value: (row) => row.before, text: (row) => text(row.before) },
      { title: "Here", value: (row) => row.now, text: (row) => text(row.now) },
    ],
    rows,
    first: 10,
  });
  const compiled = difference.compiled.map((module) => ({ module }));
  if (compiled.length > 0) {
    addTable(section, {
      id: "newly-compiled",
      caption: "compiled here and not there",
      columns: [
        name,
        { title: "Took", value: (row) => run.modules[row.module].span?.seconds ?? 0, text: (row) => time(run.modules[row.module].span?.seconds) },
        { title: "Why", value: (row) => (run.modules[row.module].why ?? []).join("; ") },
      ],
      rows: compiled,
      first: 10,
    });
  }
  changes("slower", "slower to compile", difference.slower, time, 1);
  changes("faster", "faster to compile", difference.faster, time, -1);
  changes("resized", "objects of another size", difference.resized, size, 1);
  addNamesOf(section, "New", difference.added.map((number) => names[number]));
  addNamesOf(section, "Gone", difference.gone);
}

function addNamesOf(section, title, list) {
  if (list.length === 0) return;
  const shown = list.slice(0, 100).join(", ");
  const left = list.length - 100;
  section.append(element("p", {}, `${title}: ${shown}${left > 0 ? ` and ${count(left)} more` : ""}`));
}

/** Shows the section `id` and the link to it. */
function unhide(id) {
  find(id).hidden = false;
  document.querySelector(`nav a[href="#${id}"]`).hidden = false;
}

function addControls() {
  const keys = {
    "+": () => timeline.zoom(0.5), "-": () => timeline.zoom(2), "0": timeline.whole,
    "ArrowLeft": () => timeline.pan(-0.25), "ArrowRight": () => timeline.pan(0.25),
  };
  const buttons = { "zoom-in": "+", "zoom-out": "-", "earlier": "ArrowLeft", "later": "ArrowRight", "whole": "0" };
  for (const [id, key] of Object.entries(buttons)) find(id).addEventListener("click", keys[key]);
  find("jobs").addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.altKey || event.metaKey) return;
    act();
    event.preventDefault();
  });
}

addHead();
addDifference();
addLegend();
addControls();
addFindings(find("cores"), report.findings.cores);
addCores(find("cores"));
addModules();
addTraces();
addImports();
addOrigins();
addBytes();
