"use strict";
// A click on a column's heading sorts by it; unknown values stay last.
for (const table of document.querySelectorAll("table.candidates")) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const key = (row) => column ? row.cells[column].dataset.value : row.cells[0].textContent;
      const order = (one, two) => column ? Number(one) - Number(two) : one.localeCompare(two);
      const rows = [...body.rows].sort((one, two) => {
        const a = key(one), b = key(two);
        return a === "" || b === "" ? (a === "") - (b === "") : sign * order(a, b);
      });
      body.append(...rows);
    });
  });
}
