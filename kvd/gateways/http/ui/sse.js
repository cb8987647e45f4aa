// Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure.
//
// EventSource cannot send a token, so the page reads the stream by fetch.

/** Return a function that takes text in parts and returns the events that are complete. */
export function eventParser() {
  let parts = [];
  let event = {};
  return (part) => {
    parts.push(part);
    if (!part.includes("\n")) return []; // a large value comes in many parts: they are joined once
    const lines = parts.join("").split("\n");
    parts = [lines.pop()];
    const events = [];
    for (const line of lines) {
      if (line.trim() !== "") {
        addField(event, line);
      } else {
        if (event.data !== undefined || event.id !== undefined) events.push(event);
        event = {};
      }
    }
    return events;
  };
}

function addField(event, line) {
  const [, field, value] = line.match(/^([^:\r]*):? ?(.*?)\r?$/);
  if (field === "data" && event.data !== undefined) event.data += `\n${value}`;
  else if (field) event[field] = value;
}
