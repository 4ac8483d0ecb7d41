// Draws one Plotly figure in the page's own colours. `value` is the figure as JSON, `off` and `on` are the marked neurons.
// A click on a cell triggers `pick` with its layer and neuron, and of a bin of several neurons says so.
const div = element.querySelector('.plot');
const note = element.querySelector('.plot-empty');
let drawing = Promise.resolve(), asked = false, fetching = false, restedAt = 0, unseen = false;

function css(name, fallback) {
  return getComputedStyle(element).getPropertyValue(name).trim() || fallback;
}

const paper = () => css('--body-background-fill', '#fff');

// A narrow screen has no room beside a picture: names there are cut (pointed at, a cell says them whole), the scale stands above,
// and numbers that would run into each other are left out.
const narrow = () => div.clientWidth < 480;
function cut(name) {
  const signs = name.match(/&[#\w]+;|./gsu) || [];  // names come escaped: &lt; is one sign
  return signs.length > 12 ? signs.slice(0, 11).join('').trimEnd() + '\u2026' : name;
}

function fitted(data) {
  if (!narrow()) return data;
  const columns = Math.max(...data.filter(trace => trace.mode === 'text').flatMap(trace => trace.x));
  return data.filter(trace => trace.mode !== 'text' || columns < 8).map(trace => {
    const bar = trace.colorbar;
    if (!bar || bar.orientation === 'h') return trace;
    const above = { orientation: 'h', x: 0.5, y: 1.02, yanchor: 'bottom', len: 1, title: { ...bar.title, side: 'top' } };
    return { ...trace, colorbar: { ...bar, ...above } };
  });
}

function themed(layout) {
  const ink = css('--body-text-color', '#222'), line = css('--border-color-primary', '#ccc');
  const paint = { paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)' };
  const font = { color: ink, family: css('--font', 'sans-serif'), size: narrow() ? 12 : 14 };
  const hover = { bgcolor: css('--background-fill-primary', '#fff'), bordercolor: line, font: { color: ink, size: 14 } };
  const out = { ...layout, ...paint, font: { ...layout.font, ...font }, hoverlabel: hover };
  out.width = div.clientWidth;  // plotly measures a picture's place only the first time it is drawn
  for (const key of Object.keys(layout).filter(k => /^[xy]axis\d*$/.test(k))) {
    out[key] = { ...layout[key], gridcolor: line, zerolinecolor: line, linecolor: line };
    if (!narrow() || !out[key].ticktext) continue;
    if (key[0] === 'y') out[key].ticktext = out[key].ticktext.map(cut);
    else if (out[key].tickangle && out[key].ticktext.length > 8) Object.assign(out[key], { tickangle: -90, tickfont: { size: 10 } });
  }
  if (narrow()) {  // notes below a picture have no room; on the page the same stands in words above it
    const notes = (layout.annotations || []).filter(a => a.name === 'note'), bottom = 60;
    if (notes.length) Object.assign(out, { margin: { ...layout.margin, b: bottom }, height: layout.height - layout.margin.b + bottom });
    out.annotations = (layout.annotations || []).filter(a => !notes.includes(a)).map(a => ({ ...a, xshift: -44, yshift: 6, font: { ...a.font, size: 12 } }));
  }
  const between = layout.meta ? paper() : line;  // layers are bands with gaps between them
  out.shapes = (layout.shapes || []).map(s => ({ ...s, line: { color: between, ...s.line } }));
  return out;
}

// Where a neuron's cell is, and back: a layer is a band of `rows` rows of `columns` cells each.
function cell(meta, layer, index) {
  const at = Math.floor(index / meta.per);
  return [at % meta.columns, (layer - meta.first) * meta.rows + Math.floor(at / meta.columns)];
}
function neuron(meta, x, y) {
  const at = ((y % meta.rows) * meta.columns + x) * meta.per;
  const found = { layer: meta.first + Math.floor(y / meta.rows), neuron: at, bin: meta.per > 1 };
  return found.neuron < meta.width ? found : null;
}

function marks(meta) {
  const places = list => (list || []).filter(n => n[0] >= meta.first && n[0] < meta.first + meta.layers).map(n => cell(meta, n[0], n[1]));
  // As large as a cell, so that what is off is the cell itself, but never too small to be seen.
  const tall = (div._fullLayout?.yaxis?._length || 320) / (meta.layers * meta.rows);
  const size = Math.max(5, Math.min(meta.marker, tall));
  const trace = (list, symbol, color, name, size) => ({
    type: 'scatter', mode: 'markers', name, hoverinfo: 'skip', x: places(list).map(p => p[0]), y: places(list).map(p => p[1]),
    marker: { symbol, size, color, line: { width: symbol === 'square' ? 1 : 2, color: symbol === 'square' ? paper() : color } },
  });
  return [
    trace(props.off, 'square', css('--mark-off', '#18181b'), 'off', size),
    trace(props.on, 'circle-open', css('--mark-on', '#888'), 'on again', meta.ring || Math.max(size, 7)),
  ];
}

function clicked(event) {
  const meta = div.layout.meta, point = event.points.find(p => p.curveNumber === 0);
  const found = meta && point && neuron(meta, point.x, point.y);
  if (found) trigger('pick', found);
}

// The neuron that is pointed at for a moment, by the pointer or by the frame of the keys.
let pointing = 0;
function point(found) {
  clearTimeout(pointing);
  if (found) pointing = setTimeout(() => trigger('point', found), 120);
}
function hovered(event) {
  const meta = div.layout.meta, at = event.points.find(p => p.curveNumber === 0);
  privlens.pointer = [event.event.clientX, event.event.clientY];
  point(meta && at && neuron(meta, at.x, at.y));
}
function left() {
  clearTimeout(pointing);
  privlens.pointer = null;
  document.dispatchEvent(new Event('privlens-left'));
}

// Plotly is three times as large as all the rest of the page, so it is fetched when the first figure is there.
function fetchPlotly() {
  window.plotlyComing ??= new Promise(done => {
    const root = window.gradio_config?.root ?? '';  // behind a proxy the page may stand below a path
    const script = Object.assign(document.createElement('script'), { src: root + window.plotlySource, onload: done });
    script.onerror = () => { window.plotlyComing = undefined; };  // the next picture tries again
    document.head.append(script);
  });
  return window.plotlyComing;
}

// By keys: arrows move a frame from cell to cell (with Shift by ten), Enter or Space switches the neuron in it.
let framed = null, bands = [];
const said = element.querySelector('.plot-said');
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function shapes() {
  if (!framed) return bands;
  const [x, y] = framed, line = { color: css('--focus', '#1d4ed8'), width: 3 };
  return [...bands, { type: 'rect', x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5, line }];
}
const frame = () => window.Plotly.relayout(div, { shapes: shapes() });
function keyed(event) {
  const meta = div.layout?.meta, step = STEPS[event.key], chosen = event.key === 'Enter' || event.key === ' ';
  if (!meta || !(step || chosen)) return;
  event.preventDefault();
  const most = [meta.columns - 1, meta.layers * meta.rows - 1];
  if (step) framed = framed ? framed.map((at, axis) => Math.max(0, Math.min(most[axis], at + step[axis] * (event.shiftKey ? 10 : 1)))) : [0, 0];
  const found = framed && neuron(meta, ...framed);
  if (chosen && found) trigger('pick', found);
  if (!step) return;
  frame();
  point(found);
  said.textContent = found ? said.dataset.cell.replace('LAYER', found.layer).replace('NEURON', found.neuron) : '';
}

// What comes while a picture is being drawn is drawn once, as the newest; two thirds of the time stay for the visitor's clicks.
function draw() {
  if (asked) return;
  asked = true;
  tellBusy();
  drawing = drawing.then(() => new Promise(rested => setTimeout(rested, restedAt - performance.now()))).then(async () => {
    asked = false;
    const began = performance.now();
    await drawNow();
    const took = Math.min(1000, performance.now() - began);
    restedAt = performance.now() + 2 * took;
  }).catch(reportError).then(tellBusy);
}
// Whether what is seen is about to be replaced by something newer.
function tellBusy() { div.setAttribute('aria-busy', asked || fetching); }

function drawNow() {
  const figure = privlens.figure(props.value || '{}', element);
  note.hidden = Boolean(figure.data);
  element.classList.toggle('has-plot', Boolean(figure.data));
  if (!figure.data) {  // draws come one after the other: plotly cannot bear to lose its picture in the midst of one
    if (div.data) window.Plotly.purge(div);
    return;
  }
  unseen = !div.clientWidth;  // on a closed tab: it has no width to be drawn in, and is drawn once it has
  if (unseen) return;
  if (!window.Plotly) {
    fetching = true;
    return void fetchPlotly().then(() => { fetching = false; draw(); });
  }
  const meta = figure.layout.meta;
  const data = meta ? [...figure.data, ...marks(meta)] : fitted(figure.data);
  const config = { responsive: false, displaylogo: false, displayModeBar: meta ? undefined : false,
    modeBarButtonsToRemove: ['select2d', 'lasso2d', 'toImage', 'autoScale2d'] };
  const layout = themed(figure.layout);
  bands = layout.shapes;
  layout.shapes = shapes();
  return window.Plotly.react(div, data, layout, config).then(() => {
    if (div.dataset.listening || !meta) return;
    div.dataset.listening = 'yes';
    div.on('plotly_click', clicked);
    div.on('plotly_hover', hovered);
    div.on('plotly_unhover', left);
    div.tabIndex = 0;
    div.setAttribute('role', 'application');
    div.setAttribute('aria-label', said.dataset.label);
    div.addEventListener('keydown', keyed);
    div.addEventListener('blur', () => { if (framed) { framed = null; said.textContent = ''; frame(); } });
  });
}

draw();
document.addEventListener('privlens-mask', draw);
watch('value', draw); watch('off', draw); watch('on', draw);
let width = div.clientWidth;
new ResizeObserver(() => {
  if (div.clientWidth && (unseen || div.clientWidth !== width)) { width = div.clientWidth; draw(); }
}).observe(div);
new MutationObserver(draw).observe(document.body, { attributeFilter: ['class'] });
