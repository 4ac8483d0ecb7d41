// Focuses the name of the open tab and leaves the address as it is: what stands behind its # is not ours.
const open = () => document.querySelector('#tabs [role="tab"][aria-selected="true"]');
element.querySelector('a').addEventListener('click', event => {
  event.preventDefault();
  const tab = open();
  tab.focus();
  tab.scrollIntoView({ block: 'center' });
});

// A button that leads to another tab is hidden with its own, and would leave the focus nowhere.
new MutationObserver(() => setTimeout(() => {
  if (document.activeElement === document.body) open()?.focus({ preventScroll: true });
}, 60)).observe(document, { subtree: true, attributes: true, attributeFilter: ['aria-selected'] });
