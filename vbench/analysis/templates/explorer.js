// The interactive figure of a report: BokehJS draws what `vbench.analysis.explorer` collected.
(() => {
  "use strict"
  const data = JSON.parse(document.getElementById("explore-data").textContent)
  const part = (name) => document.getElementById(`explore-${name}`)
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#7F7F7F"]
  const MARKERS = ["circle", "square", "diamond", "triangle", "inverted_triangle", "plus", "x", "hex"]
  const number = new Intl.NumberFormat("en-US", {maximumSignificantDigits: 5})
  const width = new Intl.NumberFormat("en-US", {maximumSignificantDigits: 2})
  const index = new Map(data.keys.map((key, at) => [key, at]))
  const nameOf = (key) => data.names[index.get(key)]
  const hidden = new Set()

  function element(tag, text, attributes = {}) {
    const made = Object.assign(document.createElement(tag), attributes)
    if (text !== undefined) made.textContent = text // never markup: names come from records
    return made
  }

  function fill(select, values, words = (value) => value) {
    select.replaceChildren(...values.map((value) => element("option", words(value), {value})))
    select.addEventListener("change", draw)
  }

  function valueAt(point, key) {
    return point.values[index.get(key)] ?? null
  }

  function halfAt(point, key) {
    return point.halves[index.get(key)] ?? null
  }

  function text(point, key) {
    const half = halfAt(point, key)
    return number.format(valueAt(point, key)) + (half === null ? "" : ` ± ${width.format(half)}`)
  }

  // All that is known of a point: its numbers, its verdict and its runs.
  function describe(point) {
    const rows = [["verdict", point.verdict + (point.why ? `: ${point.why}` : "")], ["runs", ""]]
    for (const key of data.keys) {
      if (valueAt(point, key) !== null) rows.push([nameOf(key), text(point, key)])
      else if ((valueAt(point, "completed") ?? Infinity) < data.needs[key]) rows.push([nameOf(key), `needs ${data.needs[key]} replies`])
    }
    const list = element("dl")
    for (const [name, value] of rows) list.append(element("dt", name), element("dd", value))
    const runs = list.querySelectorAll("dd")[1]
    for (const run of point.runs) {
      const page = data.pages[run]
      const link = page ? element("a", run.slice(0, 8), {href: page, target: "_blank", rel: "noopener"}) : element("code", run)
      runs.append(link, " ")
    }
    part("point").replaceChildren(element("h4", `${point.model} · ${point.system}, ${point.at}`), list)
  }

  function source(points, x, y) {
    const made = new Bokeh.ColumnDataSource({data: {
      x: points.map((point) => valueAt(point, x)),
      y: points.map((point) => valueAt(point, y)),
      system: points.map((point) => point.system),
      at: points.map((point) => point.at),
      verdict: points.map((point) => point.verdict),
      xs: points.map((point) => text(point, x)),
      ys: points.map((point) => text(point, y)),
    }})
    made.inspect.connect(() => {
      const [at] = made.inspected.indices
      if (at !== undefined) describe(points[at])
    })
    made.selected.properties.indices.change.connect(() => {
      const [at] = made.selected.indices
      if (at !== undefined) describe(points[at])
    })
    return made
  }

  function bars(plot, points, x, y, colour) {
    for (const [key, along] of [[x, "x"], [y, "y"]]) {
      const known = points.filter((point) => halfAt(point, key) !== null)
      const ends = (sign, of) => known.map((point) => valueAt(point, of) + (of === key ? sign * halfAt(point, key) : 0))
      if (known.length) plot.segment(ends(-1, x), ends(-1, y), ends(1, x), ends(1, y), {line_color: colour, name: along})
    }
  }

  function systemsOf(model) {
    return [...new Set(data.points.filter((point) => point.model === model).map((point) => point.system))].sort()
  }

  // One figure at a time: two that are drawn at once would both stay on the page.
  let drawing = Promise.resolve()
  function draw() {
    drawing = drawing.then(render, render)
  }

  async function render() {
    const [model, x, y] = ["model", "x", "y"].map((name) => part(name).value)
    const here = data.points.filter((point) =>
      point.model === model && valueAt(point, x) !== null && valueAt(point, y) !== null &&
      !hidden.has(point.system) && (point.verdict === "VALID" || part("invalid").checked))
    const furthest = (key) => Math.max(...here.map((point) => valueAt(point, key) + (halfAt(point, key) ?? 0)), 0) * 1.06 || 1
    const plot = Bokeh.Plotting.figure({
      height: 440, sizing_mode: "stretch_width", tools: "pan,wheel_zoom,box_zoom,reset,save,tap", toolbar_location: "above",
      x_range: new Bokeh.Range1d({start: 0, end: furthest(x)}), y_range: new Bokeh.Range1d({start: 0, end: furthest(y)}),
      x_axis_label: nameOf(x), y_axis_label: nameOf(y),
    })
    plot.toolbar.logo = null // it would link to a page of others
    for (const axis of [...plot.below, ...plot.left]) axis.formatter = new Bokeh.NumeralTickFormatter({format: "0,0.[00]"})
    const drawn = []
    systemsOf(model).forEach((system, rank) => {
      const mine = here.filter((point) => point.system === system)
      const valid = mine.filter((point) => point.verdict === "VALID").sort((one, other) => one.load - other.load)
      const invalid = mine.filter((point) => point.verdict !== "VALID")
      const colour = COLOURS[rank % COLOURS.length], marker = MARKERS[rank % MARKERS.length]
      const fields = [{field: "x"}, {field: "y"}]
      if (valid.length) {
        bars(plot, valid, x, y, colour)
        const points = source(valid, x, y)
        plot.line(...fields, {source: points, line_color: colour, line_width: 2})
        drawn.push(plot.scatter(...fields, {source: points, marker, size: 9, line_color: colour, fill_color: colour}))
      }
      if (invalid.length)
        drawn.push(plot.scatter(...fields, {source: source(invalid, x, y), marker, size: 10, line_color: colour, fill_color: null}))
    })
    plot.add_tools(new Bokeh.HoverTool({renderers: drawn, tooltips: [
      ["system", "@system"], ["load", "@at"], [nameOf(y), "@ys"], [nameOf(x), "@xs"], ["verdict", "@verdict"],
    ]}))
    for (const each of [...Bokeh.index.roots]) each.remove() // the earlier figure, and what Bokeh shows beside it
    Bokeh.documents.length = 0
    part("plot").replaceChildren()
    part("empty").hidden = here.length > 0
    await Bokeh.Plotting.show(plot, part("plot"))
    part("plot").dataset.drawn = `${model}|${x}|${y}|${here.length}`
  }

  // One checkbox a system: more names fit than into a legend, on a small screen too.
  function listSystems() {
    hidden.clear()
    part("systems").replaceChildren(...systemsOf(part("model").value).map((system, rank) => {
      const label = element("label"), box = element("input", undefined, {type: "checkbox", checked: true})
      const swatch = element("span", "■ ")
      swatch.style.color = COLOURS[rank % COLOURS.length]
      box.addEventListener("change", () => { box.checked ? hidden.delete(system) : hidden.add(system); draw() })
      label.append(box, swatch, system)
      return label
    }))
  }

  const models = [...new Set(data.points.map((point) => point.model))].sort()
  if (!models.length || !data.x.length || !data.y.length) return
  fill(part("model"), models)
  fill(part("x"), data.x, nameOf)
  fill(part("y"), data.y, nameOf)
  part("model").addEventListener("change", listSystems, {capture: true}) // before it is drawn
  part("invalid").addEventListener("change", draw)
  part("invalid").parentElement.hidden = data.points.every((point) => point.verdict === "VALID")
  part("left-out").textContent = data.left_out ? `${data.left_out} points are only in the CSV files.` : ""
  document.getElementById("explore").hidden = false
  listSystems()
  draw()
})()
