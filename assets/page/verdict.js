// One sentence that stands out: `value` is {kind, text, detail}; everything is set as text.
const box = element.querySelector('.verdict');

function draw() {
  const said = props.value || {};
  box.dataset.kind = said.kind || 'none';
  box.querySelector('strong').textContent = said.text || '';
  box.querySelector('span').textContent = said.detail || '';
}

draw(); watch('value', draw);
