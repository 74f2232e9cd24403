/** The plots of the README and of RESULTS.md: which figures of which saved result each shows. */
import { bars } from './plots.mjs'

/** Longer labels for some names. */
const LABELS = { kit: 'express-sse-kit', floor: 'floor: hand-written', 'res-write': 'res.write for each' }

/** By the name of the saved result: the file in `docs/`, and how it is drawn. */
export const PICTURES = {
  fanout: { file: 'fanout.svg', draw: drawFanout },
  slow: { file: 'slow.svg', draw: drawSlow },
  polling: { file: 'polling.svg', draw: drawPolling },
}

function drawFanout(result) {
  const rows = rowsOf(result, 'cpu').sort((a, b) => a.value - b.value)
  return bars({
    title: 'What a delivered event costs the server',
    unit: `CPU per delivered event, µs; ${result.title}`,
    notes: ['floor: the least that a server under Express can do, written by hand for this one case.', origin(result)],
    description: described('CPU per delivered event in µs', rows),
    groups: [{ rows }],
  })
}

function drawSlow(result) {
  const rows = rowsOf(result, 'growth').map((row) => ({
    ...row,
    mark: result.rows.find(({ name }) => name === row.name).figures.growthWithout?.median,
  }))
  const { seconds } = result.parameters
  return bars({
    title: `What clients that never read cost the server in ${seconds} s`,
    unit: `Growth of RSS, MB; ${result.title}`,
    mark: 'the same without those that never read',
    notes: [origin(result)],
    description: described('Growth of RSS in MB', rows),
    groups: [{ rows: rows.sort((a, b) => a.value - b.value) }],
  })
}

function drawPolling(result) {
  const users = result.parameters.streams
  const groups = [
    { heading: `To open ${users} dashboards`, rows: rowsOf(result, 'opening') },
    { heading: 'Every minute after that', rows: rowsOf(result, 'requests') },
  ]
  for (const { rows } of groups) rows.sort((a, b) => b.value - a.value)
  return bars({
    title: 'API requests: polling, and express-sse-kit',
    unit: `Requests of ${users} dashboards, counted at the server; a stream counts as one`,
    notes: ['A stream is reopened about once an hour, which none of these minutes shows.', origin(result)],
    description: groups.map(({ heading, rows }) => described(heading, rows)).join(' '),
    groups,
  })
}

function rowsOf({ rows, columns }, key) {
  const { digits } = columns.find((column) => column.key === key)
  return rows
    .filter(({ figures }) => figures[key] !== undefined)
    .map(({ name, figures: { [key]: figure } }) => ({
      name,
      label: LABELS[name] ?? name,
      value: figure.median,
      text: inDigits(figure.median, digits),
      min: figure.min,
      max: figure.max,
      own: name === 'kit',
    }))
}

function origin({ parameters: { runs }, node, date }) {
  const range = runs > 1 ? `Median of ${runs} runs; the thin line is their range.` : 'One run.'
  return `${range} Node ${node.replace('v', '')}, ${date}.`
}

function described(what, rows) {
  return `${what}: ${rows.map(({ label, text }) => `${label} ${text}`).join(', ')}.`
}

export function inDigits(number, digits) {
  return number.toLocaleString('en', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    signDisplay: 'negative',
  })
}
