"""Contests: several ways to the same result, in turns, and what each costs."""

import statistics

from harness.measure import cost

# What the others are measured by.
BASELINE = "ld.lld"


def contest(contenders, folder, rounds, forget):
    """The Costs of each of CONTENDERS, {name: steps}, in ROUNDS rounds after one that warms
    caches; FORGET takes away what could save one of them work."""
    costs = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, steps in contenders.items():
            forget()
            costs[name].append(cost(steps, folder))
    return {name: of_one[1:] for name, of_one in costs.items()}


def figures(costs):
    """What to show of a contest's COSTS: {name: figures}. Ratios are to the baseline in the
    same round."""
    walls = {name: [each.wall for each in of_one] for name, of_one in costs.items()}
    shown = {}
    for name, of_one in costs.items():
        ratios = [ours / theirs for ours, theirs in zip(walls[name], walls[BASELINE])]
        shown[name] = {
            "wall_seconds": statistics.median(walls[name]),
            "cpu_seconds": statistics.median(each.cpu for each in of_one),
            "peak_mb": max(each.peak for each in of_one),
            "ratio": statistics.median(ratios),
            "least_ratio": min(ratios),
            "largest_ratio": max(ratios),
        }
    return shown


def table(work, shown):
    """The lines of a table of FIGURES of WORK, in Markdown."""
    yield f"| {work} | wall | CPU | largest process | of {BASELINE} (least to largest) |"
    yield "|---|---|---|---|---|"
    for name, of_one in shown.items():
        yield (f"| {name} | {of_one['wall_seconds']:.2f} s | {of_one['cpu_seconds']:.2f} s | "
               f"{of_one['peak_mb']:.0f} MB | {of_one['ratio']:.2f} "
               f"({of_one['least_ratio']:.2f} to {of_one['largest_ratio']:.2f}) |")


def plot(results, files):
    """Draws RESULTS, {work: figures}, as bars of ratios to the baseline, into FILES."""
    # Debian's package; only who draws needs it.
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    # The same figures give the same file.
    matplotlib.rcParams["svg.hashsalt"] = "backlto"
    names = list(dict.fromkeys(name for shown in results.values() for name in shown))
    colours = dict(zip(names, pyplot.get_cmap("tab10").colors))
    rows = [(work, name) for work, shown in results.items() for name in shown]
    figure, axes = pyplot.subplots(figsize=(8, 0.6 + 0.32 * len(rows) + 0.3 * len(results)))
    place, ticks, labels = 0.0, [], []
    for work, shown in results.items():
        axes.text(0, place + 0.1, work, fontweight="bold", va="center")
        for name, of_one in shown.items():
            place += 1
            around = [[of_one["ratio"] - of_one["least_ratio"]],
                      [of_one["largest_ratio"] - of_one["ratio"]]]
            axes.barh(place, of_one["ratio"], color=colours[name], xerr=around, capsize=2)
            axes.text(0.01, place, f"{of_one['wall_seconds']:.1f} s", va="center", color="white",
                      fontsize="small")
            ticks.append(place)
            labels.append(name)
        place += 1.4
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(ticks, labels)
    axes.invert_yaxis()
    axes.set_xlabel(f"wall time, of {BASELINE} (medians, least and largest)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    for file in files:
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
