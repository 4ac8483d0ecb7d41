// The switch that hides private values, and a button that shows them while it is held. `value` is {values, own, more}: the values of
// the list, whether it is the visitor's own, and what is to be said where the list is too long to be hidden whole.
const toggle = element.querySelector('[role="switch"]'), hold = element.querySelector('.hold'), note = element.querySelector('.mask-note');
let chosen = false, own = false;

function set(wanted) {
  privlens.mask.set(wanted);
  toggle.setAttribute('aria-checked', String(wanted));
  hold.hidden = !wanted;
}

function update() {
  const value = props.value || {};
  privlens.values(value.values || []);
  note.textContent = value.more || '';
  note.hidden = !value.more;
  if (!chosen && Boolean(value.own) !== own) set(Boolean(value.own));  // a list of one's own is hidden until its owner says otherwise
  own = Boolean(value.own);
}

toggle.addEventListener('click', () => { chosen = true; set(!privlens.mask.on); });
hold.addEventListener('pointerdown', event => { hold.setPointerCapture(event.pointerId); privlens.reveal(true); });
hold.addEventListener('keydown', event => { if (event.key === ' ' || event.key === 'Enter') { event.preventDefault(); privlens.reveal(true); } });
for (const end of ['pointerup', 'pointercancel', 'keyup', 'blur']) hold.addEventListener(end, () => privlens.reveal(false));
watch('value', update);
update();
