// Draws the pictures over time anew, so that their reader can zoom, filter and read them off. Without it they stand still.
"use strict";

const EMBEDDING = {
  ast: true, // expressions are interpreted, for the page forbids to compile them
  actions: false,
  renderer: "svg",
  defaultStyle: false,
  tooltip: false,
};

function number(text, fallback) {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? value : fallback;
}

function readOff(specification, time) {
  const records = specification.data.values;
  const record = records.find((each) => each.t >= time) ?? records[records.length - 1];
  const { classes, tunables, states } = specification.usermeta;
  const [phase, ...settings] = states[record.state];
  const held = classes.map((name, index) => `${name} ${record["c" + index].toFixed(2)} GiB`);
  const set = tunables.map((name, index) => `${name} ${settings[index]}`);
  return `${record.t.toFixed(1)} s, phase ${phase}: ${held.concat(set).join(", ")}`;
}

async function enliven(figure) {
  const form = figure.querySelector("form");
  const whole = number(form.dataset.end, 1);
  const charts = [...figure.querySelectorAll(".chart")];
  const specifications = charts.map((chart) => JSON.parse(chart.querySelector("script").textContent));
  const views = [];
  for (const [index, chart] of charts.entries()) {
    const picture = chart.querySelector(".picture");
    const place = document.createElement("div");
    const result = await vegaEmbed(place, specifications[index], EMBEDDING);
    const svg = place.querySelector("svg");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", picture.dataset.label);
    svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
    picture.replaceChildren(svg);
    views.push(result.view);
  }

  const shown = () => [number(form.elements.begin.value, 0), number(form.elements.end.value, whole)];

  function redraw() {
    let [begin, end] = shown();
    if (!(end > begin)) {
      [begin, end] = [0, whole];
    }
    const classes = [...form.querySelectorAll("[name=class]:checked")].map((box) => box.value);
    for (const view of views) {
      view.signal("begin", begin).signal("end", end).signal("shown", classes).runAsync();
    }
    for (const box of form.querySelectorAll("[name=policy]")) {
      charts[box.value].hidden = !box.checked;
    }
  }

  function zoom(begin, end) {
    form.elements.begin.value = begin.toFixed(2);
    form.elements.end.value = end.toFixed(2);
    redraw();
  }

  function readAt(time) {
    form.elements.cursor.setAttribute("aria-valuetext", `${time.toFixed(1)} s`);
    for (const [index, chart] of charts.entries()) {
      const readout = chart.querySelector(".readout");
      readout.hidden = false;
      readout.textContent = readOff(specifications[index], time);
      views[index].signal("cursor", time).runAsync();
    }
  }

  function timeAt(index, event) {
    const svg = charts[index].querySelector(".picture svg");
    const box = svg.getBoundingClientRect();
    const scale = Number(svg.getAttribute("width")) / box.width;
    const [left] = views[index].origin();
    const width = specifications[index].vconcat[0].width;
    const [begin, end] = shown();
    const share = ((event.clientX - box.left) * scale - left) / width;
    return begin + Math.min(1, Math.max(0, share)) * (end - begin);
  }

  for (const [index, chart] of charts.entries()) {
    const picture = chart.querySelector(".picture");
    let start = null;
    picture.addEventListener("pointerdown", (event) => {
      start = timeAt(index, event);
    });
    picture.addEventListener("pointermove", (event) => {
      const time = timeAt(index, event);
      form.elements.cursor.value = Math.round((1000 * time) / whole);
      readAt(time);
    });
    picture.addEventListener("pointerup", (event) => {
      const [begin, end] = [start, timeAt(index, event)].sort((a, b) => a - b);
      if (start !== null && end - begin > 0.01 * whole) {
        zoom(begin, end);
      }
      start = null;
    });
  }
  form.elements.cursor.addEventListener("input", () => readAt((form.elements.cursor.value / 1000) * whole));
  form.elements.whole.addEventListener("click", () => zoom(0, whole));
  form.addEventListener("change", redraw);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
}

for (const figure of document.querySelectorAll("figure.timelines")) {
  enliven(figure).catch((error) => console.error(error));
}
