// Elements. Data is inserted as text (textContent, append), never as markup.

export const $ = (id) => document.getElementById(id);
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export const isPhone = () => matchMedia("(max-width: 719px)").matches;

export function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Return the element of a piece: [class, text]. */
export const drawPiece = ([className, text]) => (className ? make("span", className, text) : text);

/** Show a text in an element, or hide the element when there is none. */
export function setNote(id, text = "") {
  $(id).textContent = text;
  $(id).hidden = !text;
}

/** Set the radio buttons of a name: the selected one, and the enabled ones. */
export function setRadios(name, chosen, isOpen = () => true) {
  for (const radio of document.getElementsByName(name)) {
    radio.disabled = !isOpen(radio.value);
    radio.checked = radio.value === chosen;
  }
}

export const chosenRadio = (name) => document.querySelector(`[name=${name}]:checked`)?.value;
