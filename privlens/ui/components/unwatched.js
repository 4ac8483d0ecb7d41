// gradio reads the list of all listeners once for every part of the page, through a proxy that watches for changes, although none of
// them ever changes. Svelte watches plain objects only; those of a prototype of their own it reads as they are.
for (const listener of window.gradio_config?.dependencies ?? []) Object.setPrototypeOf(listener, Object.create(Object.prototype));
