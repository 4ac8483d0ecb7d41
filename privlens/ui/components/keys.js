// What keys should do and gradio leaves undone.

// Enter does to a box what a click and Space do. gradio itself ticks it on Enter too, but then reports the opposite.
window.addEventListener('keydown', event => {
  if (event.key !== 'Enter' || !event.target.matches?.('input[type="checkbox"]')) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  event.target.click();
}, true);

// Tab leaves a list of choices, and what leaves it closes it; but gradio then opens it again, as for every key that it is told of.
const list = 'input[role="combobox"]';
window.addEventListener('keydown', event => {
  if (event.key === 'Tab' && event.target.matches?.(list)) event.stopImmediatePropagation();
}, true);

// Of the names of the tabs only the open one is a stop of the Tab key, so that nine of them do not stand before what is in a tab; arrows,
// Home and End lead from one to the other, Enter opens it.
const TAB = '#tabs [role="tab"]';
window.addEventListener('keydown', event => {
  if (event.key === 'Tab') document.querySelectorAll(TAB).forEach(tab => { tab.tabIndex = tab.ariaSelected === 'true' ? 0 : -1; });
  if (!event.target.matches?.(TAB)) return;
  const names = [...event.target.parentElement.querySelectorAll('[role="tab"]')].filter(tab => tab.checkVisibility());
  const at = names.indexOf(event.target), to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  names.at(to % names.length).focus();
}, true);

// An open list does not follow its box when the page becomes narrower or wider. (Lower: a phone that shows its keyboard.)
let width = window.innerWidth;
window.addEventListener('resize', () => {
  if (window.innerWidth !== width && document.activeElement?.matches(list)) document.activeElement.blur();
  width = window.innerWidth;
});

// A button that is pressed and then disabled drops the focus: it goes to the button beside it that can be pressed now, from Start
// to Cancel and back, unless the visitor has put it elsewhere meanwhile.
let held = null;
window.addEventListener('pointerdown', () => { held = null; }, true);
document.addEventListener('focusin', event => { held = event.target; });
const lost = () => held?.matches('button') && (document.activeElement === held ? held.disabled : document.activeElement === document.body);
new MutationObserver(() => setTimeout(() => {  // a moment later: its neighbour is enabled in the same answer
  if (lost()) (held.disabled ? held.parentElement.querySelector('button:not([disabled])') : held)?.focus();
}, 60)).observe(document, { subtree: true, attributes: true, attributeFilter: ['disabled'] });

// A toast folds by a click on its head, which gradio makes a button although it holds the one that closes the toast, and a button in
// a button is lost to screen readers. The inner one is what keys need.
new MutationObserver(changes => {
  if (!changes.some(({ target }) => target.closest?.('.toast-wrap'))) return;
  for (const head of document.querySelectorAll('.toast-header[role]')) {
    head.removeAttribute('role');
    head.removeAttribute('tabindex');
  }
}).observe(document, { subtree: true, childList: true });
