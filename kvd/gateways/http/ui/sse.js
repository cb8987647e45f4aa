// Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure.
//
// EventSource cannot send a token, so the page reads the stream with fetch.

/** Return a function that receives parts of the text and returns the complete events. */
export function eventParser() {
  let parts = [];
  let event = {};
  return (part) => {
    parts.push(part);
    if (!part.includes("\n")) return []; // a large value arrives in many parts: join them only once
    const lines = parts.join("").split("\n");
    parts = [lines.pop()];
    const events = [];
    for (const each of lines) {
      const line = each.endsWith("\r") ? each.slice(0, -1) : each;
      if (line !== "") {
        addField(event, line);
      } else {
        if (event.data !== undefined || event.id !== undefined) events.push(event);
        event = {};
      }
    }
    return events;
  };
}

/** Add a line to its event. Without a regular expression, since a line may have 22 MiB. */
function addField(event, line) {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
  if (field === "data" && event.data !== undefined) event.data += `\n${value}`;
  else if (field) event[field] = value;
}
