/* What the page is about, and how it is said. Times are in seconds, sizes in bytes. */

const report = JSON.parse(document.getElementById("data").textContent);
const run = report.run;

/** What people call each module. */
const names = run.modules.map((module) => {
  const place = run.places[module.place ?? 0];
  return place ? `${place}/${module.name}` : module.name;
});

/** The numbers of the modules that import from each. */
const importers = run.modules.map(() => []);
run.modules.forEach((module, number) => {
  for (const from of module.imports ?? []) importers[from].push(number);
});

/** How objects come to be; each has a colour of its name. */
const KINDS = {
  "compiled": "compiled",
  "cached": "from the cache",
  "cached-after-import": "from the cache, after its imports",
  "remote": "from the remote cache",
  "remote-after-import": "from the remote cache, after its imports",
  "executed": "by the remote engine",
  "up-to-date": "up to date",
  "failed": "failed",
  "not-run": "not run",
};

/** The key in KINDS of how the object of `module` came to be. */
function kindOf(module) {
  return module.how ?? (module.error ? "failed" : "not-run");
}

/** `seconds` in words. */
function time(seconds) {
  if (seconds === undefined || seconds === null) return "";
  if (seconds < 0.0095) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 0.9995) return `${(seconds * 1e3).toFixed(0)} ms`;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 119.5) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** `bytes` in words. */
function size(bytes) {
  if (bytes === undefined || bytes === null) return "";
  if (bytes < 1e3) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

/** The number `value` with marks between thousands. */
function count(value) {
  return value.toLocaleString("en-US");
}

/** `value` things that are called `what`. */
function plural(value, what) {
  return `${count(value)} ${what}${value === 1 ? "" : "s"}`;
}

/** A date, given in seconds since 1970. */
function date(seconds) {
  return new Date(seconds * 1e3).toLocaleString();
}

/** The share `part` of `whole`. */
function share(part, whole) {
  return whole > 0 ? `${(100 * part / whole).toFixed(1)} %` : "";
}

function sum(values) {
  return values.reduce((one, other) => one + other, 0);
}

/** An element `tag` with `properties` and `children`, which are elements or texts. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Adds the list of the sentences `texts` to `parent`, if there are any. */
function addFindings(parent, texts) {
  if (texts.length > 0) {
    const items = texts.map((text) => element("li", {}, text));
    parent.append(element("ul", { className: "findings" }, ...items));
  }
}
