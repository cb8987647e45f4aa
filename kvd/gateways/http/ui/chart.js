// A bar chart in an SVG.

const NAMESPACE = "http://www.w3.org/2000/svg";

/** Draw a bar for each count. The chart's height is the largest count, or `least` if that is larger. */
export function drawBars(svg, counts, least) {
  const top = Math.max(least, ...counts);
  const { width, height } = svg.viewBox.baseVal;
  const step = width / counts.length;
  while (svg.childElementCount < counts.length) svg.append(document.createElementNS(NAMESPACE, "rect"));
  counts.forEach((count, at) => {
    const tall = count ? Math.max((count / top) * height, height / 20) : 0;
    const shape = { x: at * step, y: height - tall, width: step * 0.76, height: tall };
    for (const [name, value] of Object.entries(shape)) svg.children[at].setAttribute(name, value);
  });
}
