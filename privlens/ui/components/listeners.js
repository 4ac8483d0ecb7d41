// Spares gradio what it would do with the page's listeners for nothing, which is most of the time that it takes to open and to
// answer a click. Without effect where another version of gradio does it otherwise.
for (const listener of window.gradio_config?.dependencies ?? []) {
    // gradio reads each listener once for every part of the page, through a proxy that watches for changes, although none of them
    // ever changes. Svelte watches plain objects only; those of a prototype of their own it reads as they are.
    Object.setPrototypeOf(listener, Object.create(Object.prototype));
    // A listener that follows another has nothing that it listens to, and gradio would look through the whole page for it.
    listener.targets = listener.targets.filter(([id]) => id !== null);
    // With every message of any listener, gradio would find each part again that ever was an input of one, to tell it of a
    // progress that it does not show. It asks for the inputs by this.
    listener.inputs.includes = () => false;
}
