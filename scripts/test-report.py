#!/usr/bin/python3
"""Look at reports in a Chromium without a window, as a user would.

Pages of runs that never were, of 1,000 and of 20,000 modules, and of a small program that is
built and built again: what must be on each page is there, search finds, a click on a job
says what it is, nothing is written to the console, nothing is loaded. Pictures of all are
left in WORK, light, dark and on paper.

--measure prints how long pages take to open, and how long each picture takes while one zooms
and pans. --library compares the bundled uPlot with the package of that version of npm's.

Exit status: 0 if all is well, 1 when a page is not as it should be, 2 if it could not be
looked at.
"""

import argparse
import collections
import json
import pathlib
import statistics
import tarfile

from harness import runs
from harness.browser import browser
from harness.run import Failure, directory, llvm, main, output, program, remove, say

LIBRARY = "uplot"
# Sections of any page.
SECTIONS = ["run", "timeline", "cores", "modules", "imports", "caches", "bytes"]
SOURCES = {
    "main": "int helper(int); int table(int); int run(int n) { return helper(n) + table(n); }",
    "helper": "int table(int); int helper(int n) { return table(n) * 3; }",
    "tafel_ü": "int table(int n) { return n + 1; }",
}


def expect(holds, what):
    """Raises Failure that says WHAT is not so, unless it HOLDS."""
    if not holds:
        raise Failure(what)


def generated(options, modules, workers):
    """The page of a run of MODULES on WORKERS, and the run."""
    run = runs.run(modules, workers, seed=modules)
    kept = options.work / f"{modules}.json"
    kept.write_text(json.dumps(run))
    page = options.work / f"{modules}.html"
    output([options.backlto, "report", kept, "-o", page])
    return page, run


def built(options):
    """The pages of a program that is built, and of what differs once it was edited."""
    tree = options.work / "program"
    remove(tree)
    directory(tree)
    plan = {"programs": [{
        "name": "program", "directory": ".", "flags": ["-O2", "-fPIC"], "output": "program.so",
        "inputs": [f"{name}.o" for name in SOURCES],
        "thin_link": ["-shared"], "link": ["-shared"]}]}
    (tree / "plan.json").write_text(json.dumps(plan))

    def build(*words):
        for name, text in SOURCES.items():
            (tree / f"{name}.c").write_text(text)
            output([llvm("clang"), "-O2", "-fPIC", "-flto=thin", "-c", f"{name}.c"], cwd=tree)
        output([options.backlto, "--no-cache", *words, "run", "plan.json"], cwd=tree)

    first, second = options.work / "first.html", options.work / "second.html"
    build("--trace-llvm", "--report", first)
    SOURCES["tafel_ü"] = SOURCES["tafel_ü"].replace("n + 1", "n * n + 7")
    build()
    output([options.backlto, "report", tree, "--against", first, "-o", second])
    return first, second


def colours(page, selector):
    """How many colours the chart below SELECTOR has."""
    return page.run("""
        const canvas = document.querySelector(arguments[0] + " canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;""", selector)


def drawn(page, selector):
    """The chart below SELECTOR as it is drawn now."""
    return page.run("return document.querySelector(arguments[0] + ' canvas').toDataURL()", selector)


def look_at(page, path, work):
    """Opens the page at PATH, and checks what is so of all."""
    page.use_dark(False)
    page.requests()
    page.open(path)
    page.settle()
    loaded = [url for url in page.requests() if not url.startswith("data:")]
    expect(loaded == [path.as_uri()], f"{path} loads {loaded}")
    for name in SECTIONS:
        expect(page.one(f"#{name}").is_displayed(), f"{path} does not show #{name}")
    expect(page.texts("#run li"), f"{path} does not say what was run")
    light = page.run("return getComputedStyle(document.body).backgroundColor")
    page.picture(work / f"{path.stem}-light.png")
    page.use_dark(True)
    page.picture(work / f"{path.stem}-dark.png")
    expect(page.run("return getComputedStyle(document.body).backgroundColor") != light,
           f"{path} is not dark for who likes that")
    page.paper(work / f"{path.stem}.pdf")
    page.use_dark(False)
    for chart in ("#jobs", "#load", "#cores"):
        expect(colours(page, chart) > 3, f"{path}: nothing is drawn in {chart}")


def quiet(page, path):
    """Checks that the page at PATH had nothing to complain of, and loaded nothing more."""
    complaints = page.complaints()
    expect(not complaints, f"{path}: {complaints}")
    more = [url for url in page.requests() if not url.startswith("data:")]
    expect(not more, f"{path} loads {more}")


def check_generated(page, path, run, work):
    """Checks the page at PATH of the generated RUN."""
    modules = run["modules"]
    look_at(page, path, work)
    expect(not page.run("return window.fooled"), "a module's name was run as a script")
    count = f"{len(modules):,}"
    expect(page.one("#all-modules caption").text == f"modules: 15 of {count}",
           page.one("#all-modules caption").text)
    page.click("#modules .more")
    expect(len(page.all("#all-modules tbody tr")) == 215, "no more rows are shown")

    by_size = max(modules, key=lambda module: module["object_bytes"])
    page.click("#all-modules th:nth-child(5) button")
    first = page.one("#all-modules tbody td").text
    expect(first == by_size["name"], f"{first} is not the largest, {by_size['name']}")

    for wanted in ("größe/", "</SCRIPT>", "file_77", "nothing at all"):
        expected = [m["name"] for m in modules if wanted.lower() in m["name"].lower()]
        page.type("#search", wanted)
        found = page.one("#found").text
        expect(found == f"{len(expected):,} of {count} modules", f"{wanted}: {found}")
        shown = page.texts("#all-modules tbody td:first-child")
        expect(len(shown) == min(len(expected), 15) and set(shown) <= set(expected),
               f"{wanted}: {shown}")
    page.type("#search", "file_77")
    page.picture(work / f"{path.stem}-found.png", "#timeline")
    page.type("#search", "")
    page.run("document.querySelector('#search').value = '';"
             "document.querySelector('#search').dispatchEvent(new Event('input'))")

    imports = collections.Counter(n for module in modules for n in set(module["imports"]))
    most, times = max(imports.items(), key=lambda item: item[1])
    row = [cell.text for cell in page.all("#imported tbody tr:first-child td")]
    expect(row[1] == f"{times:,}", f"{row} is not {modules[most]['name']}, imported by {times}")
    check_timeline(page, path, run, work)
    quiet(page, path)


def check_timeline(page, path, run, work):
    """Checks that the timeline of RUN says what its jobs are, and moves."""
    place = "const {left, width} = document.querySelector(arguments[0]).getBoundingClientRect();" \
            "return [left, width]"
    expect(page.run(place, "#jobs .u-over") == page.run(place, "#load .u-over"),
           "the charts do not show the same times at the same places")
    number, longest = max(((n, m) for n, m in enumerate(run["modules"]) if "span" in m),
                          key=lambda item: item[1]["span"]["seconds"])
    span = longest["span"]
    size = page.one("#jobs .u-over").size
    # Below the row of links.
    tall = size["height"] / (run["workers"] + 1)
    x = (span["begin"] + span["seconds"] / 2) / run["seconds"] * size["width"]
    y = (1.5 + span["worker"]) * tall
    page.point("#jobs .u-over", x, y)
    tip = page.one("#tip").text
    expect(tip.startswith(longest["name"]), f"module {number} is not what is hovered: {tip}")
    page.picture(work / f"{path.stem}-hover.png", "body")
    page.point("#jobs .u-over", x, y, click=True)
    shown = page.one("#details h3").text
    expect(shown == longest["name"], f"{shown} is shown in place of {longest['name']}")
    whole = drawn(page, "#jobs")
    load = drawn(page, "#load")
    for _ in range(6):
        page.click("#zoom-in")
    page.picture(work / f"{path.stem}-zoomed.png", "#timeline")
    expect(drawn(page, "#jobs") != whole, "nothing is zoomed")
    expect(drawn(page, "#load") != load, "what the machine did is not zoomed with the jobs")
    page.click("#whole")
    expect(drawn(page, "#jobs") == whole, "the whole run is not as it was")


def check_built(page, first, second, work):
    """Checks the pages of a program that was built and edited."""
    look_at(page, first, work)
    rows = page.texts("#all-modules tbody td:first-child")
    expect(sorted(rows) == sorted(f"{name}.o" for name in SOURCES), f"{rows}")
    expect(page.one("#llvm").is_displayed(), "LLVM's times are not shown")
    expect(page.texts("#imported tbody tr"), "nothing is imported")
    quiet(page, first)
    look_at(page, second, work)
    expect(page.one("#against").is_displayed(), "no difference is shown")
    expect(page.texts("#against li"), "nothing is said of the difference")
    rows = page.texts("#all-modules tbody tr")
    expect(any(row.startswith("tafel_ü.o") and "its module `tafel_ü.o` changed" in row
               for row in rows), f"it is not said why the edited module was compiled: {rows}")
    quiet(page, second)


# One step for each picture, until all are done; the milliseconds that each took.
FRAMES = """
    const [steps, done] = [arguments[0], arguments[1]];
    const place = document.querySelector("#jobs");
    const inside = place.querySelector(".u-over").getBoundingClientRect();
    const at = { clientX: inside.left + inside.width / 3, clientY: inside.top + 5,
                 bubbles: true, cancelable: true };
    const times = [];
    let before = performance.now();
    requestAnimationFrame(function next(now) {
      times.push(now - before);
      before = now;
      const step = steps.shift();
      if (!step) return done(times.slice(2));
      place.dispatchEvent(new WheelEvent("wheel", { ...at, ...step }));
      requestAnimationFrame(next);
    });"""


def measure(page, path):
    """Says how long the page at PATH takes to open, to zoom and to pan."""
    page.open(path)
    page.settle()
    opened = page.run("return performance.timing.loadEventEnd - performance.timing.navigationStart")
    say(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, opened in {opened} ms")
    into = [{"ctrlKey": True, "deltaY": -100}] * 40
    out = [{"ctrlKey": True, "deltaY": 100}] * 40
    aside = [{"shiftKey": True, "deltaY": 60}] * 40
    for what, steps in (("zoom in", into), ("pan", aside), ("zoom out", out)):
        times = sorted(page.wait_for(FRAMES, steps))
        say(f"  {what}: {statistics.median(times):.1f} ms for a picture, "
            f"19 of 20 within {times[len(times) * 19 // 20]:.1f}, all within {times[-1]:.1f}")
    searched = page.run("""
        const before = performance.now();
        const field = document.querySelector("#search");
        field.value = "file_7";
        field.dispatchEvent(new Event("input"));
        return performance.now() - before;""")
    say(f"  search: {searched:.1f} ms")


def check_library(options):
    """Compares the bundled library with npm's package."""
    bundled = options.assets / LIBRARY
    version = (bundled / "VERSION").read_text().strip()
    place = directory(options.work / "npm")
    name = output(["npm", "pack", "--silent", f"{LIBRARY}@{version}"], cwd=place).split()[-1]
    with tarfile.open(place / name) as package:
        for file in ("LICENSE", "dist/uPlot.iife.min.js", "dist/uPlot.min.css"):
            original = package.extractfile(f"package/{file}").read()
            ours = (bundled / file.split("/")[-1]).read_bytes()
            expect(ours == original, f"{file} is not that of {LIBRARY} {version}")
    say(f"the bundled library is {LIBRARY} {version}")


def drive():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backlto", metavar="BACKLTO", type=program)
    parser.add_argument("work", metavar="WORK", type=directory)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--library", action="store_true")
    options = parser.parse_args()
    options.assets = pathlib.Path(__file__).resolve().parents[1] / "cli/assets/report"
    if options.library:
        check_library(options)
    pages = [generated(options, 1_000, 8), generated(options, 20_000, 64)]
    first, second = built(options)
    with browser() as page:
        for path, run in pages:
            check_generated(page, path, run, options.work)
            say(f"{path.name} is as it should be")
            if options.measure:
                measure(page, path)
        check_built(page, first, second, options.work)
        say("so are the pages of a program")


if __name__ == "__main__":
    main(drive)
