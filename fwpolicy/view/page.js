"use strict";
(function () {
  const find = document.getElementById("find");
  const group = document.getElementById("group");
  const found = document.getElementById("found");
  const rows = Array.from(document.querySelectorAll("table.rows tbody tr"), function (row) {
    return { row: row, text: row.textContent.toLowerCase(), groups: (row.dataset.groups || "").split(" ") };
  });

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = group.value;
    let shown = 0;
    rows.forEach(function (each) {
      const here = (!wanted || each.groups.includes(wanted)) &&
        words.every(function (word) { return each.text.includes(word); });
      each.row.hidden = !here;
      shown += here;
    });
    found.textContent = words.length || wanted ? shown + " of " + rows.length + " rows" : "";
  }

  function value(row, column) {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    return { text: text, number: "value" in cell.dataset ? Number(cell.dataset.value) : NaN };
  }

  function sort(table, column, head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const sorted = Array.from(body.rows, function (row) { return { row: row, key: value(row, column) }; });
    sorted.sort(function (one, other) {
      const numbers = !isNaN(one.key.number) && !isNaN(other.key.number);
      const order = numbers ? one.key.number - other.key.number
        : one.key.text.localeCompare(other.key.text, "en", { numeric: true });
      return down ? -order : order;
    });
    Array.from(head.parentNode.cells).forEach(function (each) { each.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    sorted.forEach(function (each) { body.appendChild(each.row); });
  }

  document.querySelectorAll("table.rows").forEach(function (table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      while (head.firstChild) { button.appendChild(head.firstChild); }
      head.appendChild(button);
      button.addEventListener("click", function () { sort(table, column, head); });
    });
  });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (each) { each.open = true; });
  });
  find.addEventListener("input", filter);
  group.addEventListener("change", filter);
  document.getElementById("tools").hidden = false;
}());
