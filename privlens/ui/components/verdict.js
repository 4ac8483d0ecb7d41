// One sentence that stands out: `value` is {kind, text, detail, busy, whose}; everything is set as text.
const box = element.querySelector('.verdict');

function draw() {
  const said = props.value || {};
  box.dataset.kind = said.kind || 'none';
  box.querySelector('strong').textContent = said.text || '';
  box.querySelector('b').textContent = said.whose || '';
  box.querySelector('b').hidden = !said.whose;
  box.querySelector('span').textContent = said.detail || '';
  box.querySelector('em').textContent = said.busy || '';
  box.querySelector('em').hidden = !said.busy;
}

draw(); watch('value', draw);
