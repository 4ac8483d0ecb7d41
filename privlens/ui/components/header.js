// What stands now: `value` is {text, edits, lose}; everything is set as text. Where there is something to lose, the browser asks
// before it leaves or reloads the page.
const box = element.querySelector('.standing');

function draw() {
  const now = props.value || {};
  box.dataset.edited = Boolean(now.edits);
  box.querySelector('span').textContent = now.text || '';
  box.querySelector('strong').textContent = now.edits || '';
}

draw(); watch('value', draw);
// What says that results are outdated sticks below it.
new ResizeObserver(([seen]) => document.documentElement.style.setProperty('--header-height', `${seen.target.offsetHeight}px`))
  .observe(element.closest('#header'));
window.addEventListener('beforeunload', event => {
  if (!props.value?.lose) return;
  event.preventDefault();
  event.returnValue = 'leave';  // what older browsers go by
});
