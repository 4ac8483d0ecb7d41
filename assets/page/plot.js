// Draws one Plotly figure in the page's own colours. `value` is the figure as JSON, `off` and `on` are the marked neurons.
// A click on a cell triggers `pick` with its layer and neuron.
const div = element.querySelector('.plot');
const note = element.querySelector('.plot-empty');
let drawing = Promise.resolve();

function css(name, fallback) {
  return getComputedStyle(element).getPropertyValue(name).trim() || fallback;
}

function themed(layout) {
  const ink = css('--body-text-color', '#222'), line = css('--border-color-primary', '#ccc');
  const paint = { paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)' };
  const font = { color: ink, family: css('--font', 'sans-serif'), size: div.clientWidth < 480 ? 12 : 14 };
  const hover = { bgcolor: css('--background-fill-primary', '#fff'), bordercolor: line, font: { color: ink, size: 14 } };
  const out = { ...layout, ...paint, font: { ...layout.font, ...font }, hoverlabel: hover };
  for (const key of Object.keys(layout).filter(k => /^[xy]axis\d*$/.test(k))) {
    out[key] = { ...layout[key], gridcolor: line, zerolinecolor: line, linecolor: line };
  }
  out.shapes = (layout.shapes || []).map(s => ({ ...s, line: { color: line, ...s.line } }));
  return out;
}

// Where a neuron's cell is, and back: a layer is a band of `rows` rows of `columns` cells each.
function cell(meta, layer, index) {
  return [index % meta.columns, (layer - meta.first) * meta.rows + Math.floor(index / meta.columns)];
}
function neuron(meta, x, y) {
  const found = { layer: meta.first + Math.floor(y / meta.rows), neuron: (y % meta.rows) * meta.columns + x };
  return found.neuron < meta.width ? found : null;
}

function marks(meta) {
  const places = list => (list || []).filter(n => n[0] >= meta.first && n[0] < meta.first + meta.layers).map(n => cell(meta, n[0], n[1]));
  const many = (props.off || []).length + (props.on || []).length > 120;
  const trace = (list, symbol, color, name) => ({
    type: 'scatter', mode: 'markers', name, hoverinfo: 'skip', x: places(list).map(p => p[0]), y: places(list).map(p => p[1]),
    marker: { symbol, size: many ? 0.6 * meta.marker : meta.marker, color, line: { width: many ? 1 : 2, color } },
  });
  return [
    trace(props.off, 'square-open', css('--mark-off', '#0a58ca'), 'off'),
    trace(props.on, 'circle-open', css('--mark-on', '#888'), 'on again'),
  ];
}

function clicked(event) {
  const meta = div.layout.meta, point = event.points.find(p => p.curveNumber === 0);
  const found = meta && point && neuron(meta, point.x, point.y);
  if (found) trigger('pick', found);
}

function draw() {
  const figure = JSON.parse(props.value || '{}');
  note.hidden = Boolean(figure.data);
  element.classList.toggle('has-plot', Boolean(figure.data));
  if (!figure.data) return void (div.data && window.Plotly.purge(div));
  if (!window.Plotly) return void setTimeout(draw, 100);
  const meta = figure.layout.meta;
  const data = meta ? [...figure.data, ...marks(meta)] : figure.data;
  const config = { responsive: false, displaylogo: false, displayModeBar: meta ? undefined : false,
    modeBarButtonsToRemove: ['select2d', 'lasso2d', 'toImage', 'autoScale2d'] };
  drawing = drawing.then(() => window.Plotly.react(div, data, themed(figure.layout), config)).then(() => {
    if (div.dataset.listening || !meta) return;
    div.dataset.listening = 'yes';
    div.on('plotly_click', clicked);
  });
}

draw();
watch('value', draw); watch('off', draw); watch('on', draw);
let width = div.clientWidth;
new ResizeObserver(() => {
  if (div.clientWidth && div.clientWidth !== width) { width = div.clientWidth; draw(); }
}).observe(div);
new MutationObserver(draw).observe(document.body, { attributeFilter: ['class'] });
