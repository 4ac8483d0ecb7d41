// Focuses the name of the open tab and leaves the address as it is: what stands behind its # is not ours.
const open = () => document.querySelector('#tabs [role="tab"][aria-selected="true"]');
element.querySelector('a').addEventListener('click', event => {
  event.preventDefault();
  const tab = open();
  tab.focus();
  tab.scrollIntoView({ block: 'center' });
});

// A button that leads to another tab is hidden with its own, sooner or later, and would leave the focus nowhere. Whoever leaves the page
// by the Tab key is not called back.
let leaves = false;
window.addEventListener('keydown', event => { leaves = event.key === 'Tab'; }, true);
document.addEventListener('focusin', () => { leaves = false; });
const lost = () => document.activeElement === document.body ? !leaves : !document.activeElement.checkVisibility();
new MutationObserver(() => [60, 250, 1000, 3000].forEach(later => setTimeout(() => {
  if (lost()) open()?.focus({ preventScroll: true });
}, later))).observe(document, { subtree: true, attributes: true, attributeFilter: ['aria-selected'] });
