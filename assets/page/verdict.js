// One sentence that stands out: `value` is {kind, text, detail}; everything is set as text.
const box = element.querySelector('.verdict');

function draw() {
  const said = props.value || {};
  box.dataset.kind = said.kind || 'none';
  box.querySelector('strong').textContent = said.text || '';
  box.querySelector('span').textContent = said.detail || '';
}

draw(); watch('value', draw);
// A part on a tab that opens for the first time gets what was set before only after it was made.
requestAnimationFrame(draw);
