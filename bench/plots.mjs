/**
 * Bar charts as SVG, without a library. Legible on light and dark pages: the picture has its own background, because an
 * embedded picture follows the colour scheme of the system, which may differ from that of the page.
 */

const WIDTH = 820
const PADDING = 24
const LABEL_WIDTH = 200
/** At the right of the longest bar, for its number. */
const NUMBER_WIDTH = 84
const BAR = 20
const ROW = 34
const HEADING = 30
const BARS_LEFT = PADDING + LABEL_WIDTH + 12
const BARS_WIDTH = WIDTH - BARS_LEFT - PADDING - NUMBER_WIDTH

const STYLE = `
  text { font: 14px system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 19px; font-weight: 600 }
  .unit, .note { fill: #59636e }
  .note { font-size: 12.5px }
  .heading { font-weight: 600 }
  .number { font-variant-numeric: tabular-nums; fill: #59636e }
  .own { font-weight: 600; fill: #1f2328 }
  .ground { fill: #ffffff; stroke: #d1d9e0 }
  .axis { stroke: #d1d9e0 }
  .bar { fill: #b6bfc9 }
  .bar.own { fill: #0969da }
  .whisker { stroke: #1f2328; stroke-width: 1.5; fill: none }
  .halo { stroke: #ffffff; stroke-width: 4.5; stroke-opacity: 0.75; fill: none }
  .mark { stroke: #bc4c00; stroke-width: 2.5 }
  @media (prefers-color-scheme: dark) {
    text, .own { fill: #f0f6fc }
    .unit, .note, .number { fill: #9198a1 }
    .number.own { fill: #f0f6fc }
    .ground { fill: #0d1117; stroke: #3d444d }
    .axis { stroke: #3d444d }
    .bar { fill: #57606a }
    .bar.own { fill: #4493f8 }
    .whisker { stroke: #f0f6fc }
    .halo { stroke: #0d1117 }
    .mark { stroke: #f0883e }
  }`

/**
 * Horizontal bars on one scale.
 * @param chart `title`, `unit` below it, `description` for screen readers, `notes` at the foot, optional `mark` which
 *   explains the line across a bar, and `groups` of `{ heading?, rows }`; a row is
 *   `{ label, value, text, min?, max?, mark?, own? }`, of which `min` and `max` make a whisker and `own` is highlighted
 */
export function bars({ title, unit, description, notes, mark, groups }) {
  const all = groups.flatMap(({ rows }) => rows)
  const largest = Math.max(...all.flatMap((row) => [row.value, row.max ?? 0, row.mark ?? 0]), Number.MIN_VALUE)
  const xOf = (value) => round(BARS_LEFT + (Math.max(0, value) / largest) * BARS_WIDTH)
  const parts = [textAt(PADDING, 40, title, 'title'), textAt(PADDING, 62, unit, 'unit')]
  let y = 84
  for (const { heading, rows } of groups) {
    if (heading) {
      parts.push(textAt(PADDING, y + 18, heading, 'heading'))
      y += HEADING
    }
    const top = y
    for (const row of rows) {
      parts.push(barAt(y, row, xOf))
      y += ROW
    }
    parts.push(`<path class="axis" d="M${BARS_LEFT} ${top}V${y}"/>`)
    y += 6
  }
  if (mark) {
    parts.push(`<path class="mark" d="M${PADDING + 2} ${y + 8}v14"/>`, textAt(PADDING + 14, y + 20, mark, 'note'))
    y += 20
  }
  for (const note of notes) {
    parts.push(textAt(PADDING, y + 20, note, 'note'))
    y += 20
  }
  const height = y + 18
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title description">`,
    `<title id="title">${escaped(title)}</title>`,
    `<desc id="description">${escaped(description)}</desc>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="ground" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="10"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function barAt(y, { label, value, text, min, max, mark, own = false }, xOf) {
  const middle = y + ROW / 2
  const top = middle - BAR / 2
  const end = xOf(value)
  const [name, bar, number] = ['label', 'bar', 'number'].map((kind) => (own ? `${kind} own` : kind))
  const parts = [
    textAt(BARS_LEFT - 12, middle + 5, label, name, 'end'),
    `<rect class="${bar}" x="${BARS_LEFT}" y="${top}" width="${round(end - BARS_LEFT)}" height="${BAR}"/>`,
  ]
  let right = end
  if (min !== undefined && max > min) {
    right = Math.max(right, xOf(max))
    const caps = [min, max].map((each) => `M${xOf(each)} ${middle - 5}v10`).join('')
    const line = `${caps}M${xOf(min)} ${middle}H${xOf(max)}`
    parts.push(`<path class="halo" d="${line}"/><path class="whisker" d="${line}"/>`)
  }
  if (mark !== undefined) {
    right = Math.max(right, xOf(mark))
    parts.push(`<path class="mark" d="M${xOf(mark)} ${top - 3}v${BAR + 6}"/>`)
  }
  parts.push(textAt(right + 9, middle + 5, text, number))
  return parts.join('')
}

function textAt(x, y, text, className, anchor) {
  const anchored = anchor ? ` text-anchor="${anchor}"` : ''
  return `<text class="${className}" x="${x}" y="${y}"${anchored}>${escaped(text)}</text>`
}

function round(number) {
  return Math.round(number * 10) / 10
}

function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
