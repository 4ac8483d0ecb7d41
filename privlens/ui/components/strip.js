// Of what the results below were made: `value` is {kind, text, detail}, kind one of none, current, stale; everything is set as text.
const box = element.querySelector('.strip');

function draw() {
  const said = props.value || {};
  box.dataset.kind = said.kind || 'none';
  box.hidden = !said.text;
  box.querySelector('strong').textContent = said.text || '';
  box.querySelector('span').textContent = said.detail || '';
}

draw(); watch('value', draw);
