// How far a run is: `value` is {share, text}, share 0..1; null hides it.
const box = element.querySelector('.run');

function draw() {
  const run = props.value;
  box.hidden = !run;
  if (!run) return;
  box.querySelector('progress').value = run.share;
  box.querySelector('span').textContent = run.text;
}

draw(); watch('value', draw);
