"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = 8; // groups of their own colour and mark; the others are grey
  const MARKED = 40; // a line of more points than this has no marks
  const ROWS = 10; // of a tooltip
  const data = JSON.parse(document.getElementById("data").textContent);
  const state = { axis: "steps", scale: "linear", band: "range", off: new Set(), splitsOff: new Set() };
  const tooltip = document.getElementById("tooltip");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  // Small parts -----------------------------------------------------------------------------------

  function make(name, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const colour = (group) => (group < COLOURS ? `var(--c${group})` : "var(--rest)");

  function format(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-3) return (+value.toPrecision(3)).toExponential().replace("e+", "e");
    if (size >= 1000) return Math.round(value).toLocaleString("en");
    return String(+value.toPrecision(4));
  }

  // Circle, square, diamond, triangle; filled, then hollow.
  function markPath(group, x, y, r = 3.2) {
    const at = (points) => `M${points.map(([a, b]) => `${x + a * r},${y + b * r}`).join("L")}Z`;
    switch (group % 4) {
      case 0: return `M${x - r},${y}a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0Z`;
      case 1: return at([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]);
      case 2: return at([[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]]);
      default: return at([[0, -1.2], [1.2, 0.9], [-1.2, 0.9]]);
    }
  }

  function marks(group, d) {
    const hollow = group % COLOURS >= 4;
    return make("path", {
      class: "marks", d, stroke: colour(group), "stroke-width": 1.4,
      fill: hollow ? "var(--page)" : colour(group),
    });
  }

  function swatch(group, split) {
    const icon = make("svg", { width: 22, height: 12, viewBox: "0 0 22 12", "aria-hidden": "true" });
    const dash = split === "train" ? { "stroke-dasharray": "5 4" } : {};
    const ink = group === null ? "currentColor" : colour(group);
    icon.append(make("path", { d: "M1,6H21", stroke: ink, "stroke-width": 2, ...dash }));
    if (group !== null && group < COLOURS && split !== "train") icon.append(marks(group, markPath(group, 11, 6)));
    return icon;
  }

  // Axes ------------------------------------------------------------------------------------------

  function ticks(low, high, wanted) {
    const rough = (high - low) / wanted || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((n) => n * power >= rough) * power;
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
    return found;
  }

  function logTicks(low, high) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const n of [1, 2, 5]) found.push(n * 10 ** power);
    const inside = found.filter((value) => value >= low && value <= high);
    const thinned = inside.length > 6 ? inside.filter((v) => Math.abs(Math.log10(v) % 1) < 1e-9) : inside;
    return thinned.length > 1 ? thinned : ticks(low, high, 4).filter((value) => value > 0);
  }

  const bounds = (series, i) => {
    const mean = series.mean[i];
    if (!series.low || state.band === "none") return [mean, mean];
    if (state.band === "range") return [series.low[i], series.high[i]];
    return [mean - series.std[i], mean + series.std[i]];
  };

  const visible = (chart) =>
    chart.series.filter((s) => !state.off.has(s.group) && !state.splitsOff.has(s.split));

  function scales(chart, shown, width, height) {
    const log = state.scale === "log";
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const series of shown)
      series[state.axis].forEach((x, i) => {
        const [low, high] = bounds(series, i);
        if (log && series.mean[i] <= 0) return;
        [x0, x1] = [Math.min(x0, x), Math.max(x1, x)];
        [y0, y1] = [Math.min(y0, log && low <= 0 ? series.mean[i] : low), Math.max(y1, high)];
      });
    if (x0 > x1) return null;
    if (x0 === x1) [x0, x1] = [x0 - 0.5, x1 + 0.5];
    const pad = log ? 0 : (y1 - y0) * 0.06 || Math.abs(y1) * 0.1 || 1;
    if (log && y0 === y1) [y0, y1] = [y0 / 1.5, y1 * 1.5];
    [y0, y1] = [y0 - pad, y1 + pad];
    const of = log ? (value) => Math.log10(Math.max(value, y0)) : (value) => value;
    const box = { left: 56, right: width - 12, top: 10, bottom: height - 44 };
    return {
      box, log, x0, x1, y0, y1,
      x: (v) => box.left + ((v - x0) / (x1 - x0)) * (box.right - box.left),
      y: (v) => box.bottom - ((of(v) - of(y0)) / (of(y1) - of(y0))) * (box.bottom - box.top),
    };
  }

  function drawAxes(svg, s, label) {
    const { box } = s;
    for (const value of s.log ? logTicks(s.y0, s.y1) : ticks(s.y0, s.y1, 5)) {
      const y = s.y(value);
      svg.append(make("line", { class: "grid", x1: box.left, x2: box.right, y1: y, y2: y }));
      svg.append(make("text", { x: box.left - 8, y: y + 4, "text-anchor": "end" }, format(value)));
    }
    for (const value of ticks(s.x0, s.x1, Math.max(2, Math.min(6, (box.right - box.left) / 90)))) {
      const x = s.x(value);
      svg.append(make("line", { class: "grid", x1: x, x2: x, y1: box.bottom, y2: box.bottom + 5 }));
      svg.append(make("text", { x, y: box.bottom + 19, "text-anchor": "middle" }, format(value)));
    }
    const name = state.axis === "steps" ? "optimizer steps" : "seconds of training";
    const middle = (box.left + box.right) / 2;
    svg.append(make("text", { x: middle, y: box.bottom + 37, "text-anchor": "middle" }, name));
    const up = (box.top + box.bottom) / 2;
    svg.append(make("text", { transform: `translate(11 ${up}) rotate(-90)`, "text-anchor": "middle" }, label.length > 36 ? `${label.slice(0, 35)}…` : label));
  }

  // Charts ----------------------------------------------------------------------------------------

  function drawSeries(svg, series, s) {
    const xs = series[state.axis];
    const kept = xs.map((_, i) => i).filter((i) => !s.log || series.mean[i] > 0);
    if (!kept.length) return;
    const point = (i, value) => `${s.x(xs[i]).toFixed(1)},${s.y(value).toFixed(1)}`;
    const common = { "data-group": series.group };
    if (series.low && state.band !== "none") {
      const up = kept.map((i) => point(i, bounds(series, i)[1]));
      const down = kept.map((i) => point(i, bounds(series, i)[0])).reverse();
      svg.append(make("path", { ...common, class: "band", d: `M${up.concat(down).join("L")}Z`, fill: colour(series.group) }));
    }
    const kind = `line ${series.split === "train" ? "train" : ""} ${series.group < COLOURS ? "" : "rest"}`;
    svg.append(make("path", { ...common, class: kind, d: `M${kept.map((i) => point(i, series.mean[i])).join("L")}`, stroke: colour(series.group) }));
    const marked = kept.length === 1 || (series.split !== "train" && kept.length <= MARKED && series.group < COLOURS);
    if (marked) {
      const path = marks(series.group, kept.map((i) => markPath(series.group, s.x(xs[i]), s.y(series.mean[i]))).join(""));
      path.setAttribute("data-group", series.group);
      svg.append(path);
    }
  }

  function inWords(chart, shown) {
    const last = shown.slice(0, 6).map((series) => {
      const name = data.groups.length > 1 ? `${data.groups[series.group].label}, ` : "";
      return `${name}${series.split} ${format(series.mean[series.mean.length - 1])}`;
    });
    return `${chart.label} over ${state.axis}. At the end: ${last.join("; ")}.`;
  }

  function draw(figure) {
    const chart = figure.chart;
    const shown = visible(chart);
    const width = Math.max(280, Math.round(figure.clientWidth || 520));
    const height = 270;
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0" });
    svg.setAttribute("aria-label", inWords(chart, shown));
    const s = scales(chart, shown, width, height);
    if (s) {
      drawAxes(svg, s, chart.label);
      // The best group is drawn last, on top.
      for (const series of [...shown].reverse()) drawSeries(svg, series, s);
      const cursor = make("line", { class: "cursor", y1: s.box.top, y2: s.box.bottom, visibility: "hidden" });
      svg.append(cursor);
      point(svg, cursor, chart, shown, s, width);
    } else {
      const why = state.scale === "log" && shown.length ? "no positive value to show on a log scale" : "switched off";
      svg.append(make("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, why));
    }
    const before = figure.querySelector("svg");
    const focused = before && before === document.activeElement;
    if (before) before.replaceWith(svg);
    else figure.append(svg);
    if (focused) svg.focus();
    figure.stale = false;
  }

  function nearest(values, x) {
    let [low, high] = [0, values.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < x) low = middle + 1;
      else high = middle;
    }
    return low > 0 && x - values[low - 1] <= values[low] - x ? low - 1 : low;
  }

  function rowOf(series, i, chart) {
    const several = data.groups.length > 1 ? `${data.groups[series.group].label}, ` : "";
    let value = format(series.mean[i]);
    if (series.low)
      value += state.band === "deviation" ? ` ± ${format(series.std[i])}` : ` (${format(series.low[i])} to ${format(series.high[i])})`;
    const of = data.groups[series.group].runs;
    if (series.n < of) value += `, ${series.n} of ${of} runs`;
    const row = document.createElement("div");
    row.append(swatch(series.group, series.split), `${several}${series.split} ${value}`);
    return row;
  }

  function tell(chart, shown, x, at) {
    const rows = shown.map((series) => [series, nearest(series[state.axis], x)]);
    const head = document.createElement("strong");
    head.textContent = state.axis === "steps" ? `step ${format(x)}` : `${format(x)} s`;
    tooltip.replaceChildren(head, ...rows.slice(0, ROWS).map(([series, i]) => rowOf(series, i, chart)));
    if (rows.length > ROWS) tooltip.append(`and ${rows.length - ROWS} more`);
    tooltip.hidden = false;
    const { offsetWidth: w, offsetHeight: h } = tooltip;
    const left = at.x + 14 + w > innerWidth ? Math.max(4, at.x - w - 14) : at.x + 14;
    tooltip.style.left = `${left}px`;
    tooltip.style.top = `${Math.max(4, Math.min(innerHeight - h - 4, at.y - h / 2))}px`;
  }

  function point(svg, cursor, chart, shown, s, width) {
    const xs = [...new Set(shown.flatMap((series) => series[state.axis]))].sort((a, b) => a - b);
    let index = xs.length - 1;
    const show = (i, clientY) => {
      index = Math.max(0, Math.min(xs.length - 1, i));
      const box = svg.getBoundingClientRect();
      const x = s.x(xs[index]);
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, x);
      cursor.setAttribute("visibility", "visible");
      tell(chart, shown, xs[index], { x: box.left + (x * box.width) / width, y: clientY ?? box.top + box.height / 2 });
    };
    const hide = () => {
      cursor.setAttribute("visibility", "hidden");
      tooltip.hidden = true;
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const inside = ((event.clientX - box.left) / box.width) * width;
      const x = s.x0 + ((inside - s.box.left) / (s.box.right - s.box.left)) * (s.x1 - s.x0);
      show(nearest(xs, x), event.clientY);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Escape") hide();
      if (by === undefined) return;
      event.preventDefault();
      show(tooltip.hidden && Math.abs(by) === 1 ? index : Number.isFinite(by) ? index + by : by < 0 ? 0 : xs.length - 1);
    });
  }

  // A chart is drawn when it comes near the screen, and again when what it shows has changed.
  const charts = all(".chart");
  charts.forEach((figure, i) => {
    figure.chart = data.charts.find((chart) => chart.name === figure.dataset.chart);
    figure.stale = true;
  });
  const near = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) near.add(target);
      else near.delete(target);
      if (isIntersecting && target.stale) draw(target);
    }
  }, { rootMargin: "400px" });
  charts.forEach((figure) => watcher.observe(figure));
  function redraw() {
    tooltip.hidden = true;
    for (const figure of charts) {
      figure.stale = true;
      if (near.has(figure)) draw(figure);
    }
  }
  let pause;
  let lastWidth = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === lastWidth) return;
    lastWidth = innerWidth;
    clearTimeout(pause);
    pause = setTimeout(redraw, 120);
  });
  for (const input of all(".choice input"))
    input.addEventListener("change", () => {
      state[input.name] = input.value;
      redraw();
    });
  for (const input of all(".choice input:checked")) state[input.name] = input.value;

  // Legend ----------------------------------------------------------------------------------------

  function legendButton(label, group, split, hidden, value) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(swatch(group, split), label);
    button.addEventListener("click", () => {
      if (!hidden.delete(value)) hidden.add(value);
      button.setAttribute("aria-pressed", String(!hidden.has(value)));
      redraw();
    });
    return button;
  }

  function emphasise(group, on) {
    for (const grid of all(".charts")) {
      grid.classList.toggle("pointed", on);
      for (const part of all("[data-group]", grid)) part.classList.toggle("hot", on && part.dataset.group === String(group));
    }
  }

  const legend = document.getElementById("legend");
  if (legend) {
    const splits = new Set(data.charts.flatMap((chart) => chart.series.map((series) => series.split)));
    for (const split of splits) legend.append(legendButton(split, null, split, state.splitsOff, split));
    if (data.groups.length > 1)
      data.groups.forEach(({ label }, group) => {
        const button = legendButton(label, group, "val", state.off, group);
        for (const [event, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]])
          button.addEventListener(event, () => emphasise(group, on));
        legend.append(button);
      });
  }

  // Pictures --------------------------------------------------------------------------------------

  function leaf(slider) {
    const step = Number(slider.dataset.steps.split(" ")[slider.value]);
    const named = step.toLocaleString("en");
    slider.setAttribute("aria-valuetext", `step ${named}`);
    slider.parentElement.querySelector("output").textContent = named;
    for (const film of all(".film", slider.closest(".panel"))) {
      const frames = all("img", film);
      const shown = frames.filter((frame) => Number(frame.dataset.step) <= step).pop() || frames[0];
      for (const frame of frames) frame.classList.toggle("on", frame === shown);
      film.querySelector(".at").textContent = Number(shown.dataset.step).toLocaleString("en");
    }
  }
  for (const slider of all(".slider input")) {
    slider.addEventListener("input", () => leaf(slider));
    leaf(slider); // a browser may have kept where it stood
  }

  const tabs = all("[role=tab]");
  const panels = all("[role=tabpanel]");
  function choose(index, focus) {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      panels[i].hidden = i !== index;
    });
    if (focus) tabs[index].focus();
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(i, false));
    tab.addEventListener("keydown", (event) => {
      const last = tabs.length - 1;
      const next = { ArrowLeft: i ? i - 1 : last, ArrowRight: i < last ? i + 1 : 0, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      choose(next, true);
    });
  });
  if (tabs.length) choose(0, false);

  // Tables ----------------------------------------------------------------------------------------

  const sortKey = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text.replace(/,/g, ""));
    return row.cells[column].classList.contains("number") || /^\d+\./.test(text) ? (Number.isNaN(number) ? Infinity : number) : text;
  };
  for (const table of all("table.sortable"))
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map((row) => [sortKey(row, column), row]);
        rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });

  // Theme, copying, printing ----------------------------------------------------------------------

  const themes = ["auto", "light", "dark"];
  const toggle = document.getElementById("theme");
  let theme = "auto";
  function paint() {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    toggle.textContent = `Theme: ${theme}`;
  }
  try {
    theme = themes.find((name) => name === localStorage.getItem("dlrun-theme")) || "auto";
  } catch { /* a browser may keep nothing for files */ }
  paint();
  toggle.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    paint();
    try {
      localStorage.setItem("dlrun-theme", theme);
    } catch { /* then it lasts until the page is closed */ }
  });

  for (const button of all(".copy"))
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(button.parentElement.querySelector("code"));
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])").filter((part) => !part.querySelector("pre"));
    opened.forEach((part) => (part.open = true));
    charts.filter((figure) => figure.stale).forEach(draw);
  });
  addEventListener("afterprint", () => opened.forEach((part) => (part.open = false)));
})();
