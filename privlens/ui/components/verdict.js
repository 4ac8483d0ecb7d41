// One sentence that stands out: `value` is {kind, text, detail, busy, whose}; everything is set as text.
const box = element.querySelector('.verdict');

// What says the same stays, with the words in it that are explained (terms.js): one of them may have the focus.
function detail(text) {
  const line = box.querySelector('span');
  if (line.textContent !== text) line.textContent = text;
}

function draw() {
  const said = props.value || {};
  box.dataset.kind = said.kind || 'none';
  box.querySelector('strong').textContent = said.text || '';
  box.querySelector('b').textContent = said.whose || '';
  box.querySelector('b').hidden = !said.whose;
  detail(said.detail || '');
  box.querySelector('em').textContent = said.busy || '';
  box.querySelector('em').hidden = !said.busy;
}

draw(); watch('value', draw);
