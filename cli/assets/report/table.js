/* Tables that are sorted by their headings, and show a part of their rows until more are wanted. */

const collator = new Intl.Collator("en", { numeric: true });

/**
 * Adds a table to `parent`.
 *
 * Columns have a `title`, the `value` of a row to sort by, the `text` to show (the value, if there is none), and
 * `module`, the number of the module that a row is about, where the text is its name. Numbers go to the right.
 * The table is sorted by column `sort`, downwards, and shows `first` rows.
 *
 * Returns a function that gives it other rows.
 */
function addTable(parent, { id, caption, columns, rows, sort = 1, first = 15 }) {
  const table = element("table", { id });
  const body = element("tbody");
  const title = element("caption");
  const more = element("button", { type: "button", className: "more" });
  const state = { rows, sort, down: true, shown: first };

  const headings = columns.map((column, number) => {
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => {
      state.down = state.sort === number ? !state.down : isNumeric(column);
      state.sort = number;
      show();
    });
    return element("th", { scope: "col", className: isNumeric(column) ? "number" : "" }, button);
  });

  function isNumeric(column) {
    return rows.length > 0 && typeof (column.value(rows[0]) ?? 0) === "number";
  }

  function cell(column, row) {
    const text = String(column.text ? column.text(row) : column.value(row) ?? "");
    const content = column.module ? nameButton(column.module(row), text) : text;
    return element("td", { className: isNumeric(column) ? "number" : "" }, content);
  }

  function show() {
    const column = columns[state.sort];
    const direction = state.down ? -1 : 1;
    const order = isNumeric(column) ? (one, other) => one - other : collator.compare;
    const sorted = state.rows.map((row) => [column.value(row) ?? (isNumeric(column) ? -1 : ""), row]);
    sorted.sort(([one], [other]) => direction * order(one, other));
    const shown = sorted.slice(0, state.shown);
    body.replaceChildren(...shown.map(([, row]) => {
      return element("tr", {}, ...columns.map((one) => cell(one, row)));
    }));
    headings.forEach((heading, number) => {
      const sorting = state.down ? "descending" : "ascending";
      heading.setAttribute("aria-sort", number === state.sort ? sorting : "none");
    });
    const left = sorted.length - shown.length;
    title.textContent = left > 0
      ? `${caption}: ${count(shown.length)} of ${count(sorted.length)}`
      : `${caption}: ${count(sorted.length)}`;
    more.hidden = left === 0;
    more.textContent = `Show ${count(Math.min(left, 200))} more`;
  }

  more.addEventListener("click", () => {
    state.shown += 200;
    show();
  });
  table.append(title, element("thead", {}, element("tr", {}, ...headings)), body);
  parent.append(element("div", { className: "table" }, table), more);
  show();
  return (others) => {
    state.rows = others;
    state.shown = first;
    show();
  };
}

/** A button that calls a module by `text` and shows its details. */
function nameButton(module, text) {
  const button = element("button", { type: "button", className: "name" }, text);
  button.addEventListener("click", () => choose(module, true));
  return button;
}
