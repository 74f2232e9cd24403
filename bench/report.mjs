/** `npm run bench -- report`: RESULTS.md and the plots, from what `--save` kept in `results/`. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { inWords, judge } from './harness/goals.mjs'
import { inDigits, PICTURES } from './pictures.mjs'

const here = new URL('.', import.meta.url)

const INTRODUCTION = `All contestants of a bench run in turn within one run, in processes of their own: the server under test alone on one core,
the load client and whatever else is needed on the other. Before the figures count, what must arrive is compared with what
arrived. **What counts are the ratios within one result**; absolute figures are the machine's, and those of two results do
not compare. Figures are medians of the runs, with their range in brackets. Goals were set before; those that were missed
stand beside those that were reached.

Made by \`npm run bench -- report\` from what \`npm run bench -- NAME --save\` left in [results/](results); remarks come from
\`results/notes/\`.`

/** @param order the names of the benches, as they shall follow each other */
export function report(order) {
  const results = readResults(order)
  if (results.length === 0) throw new Error('Nothing is saved in bench/results; see --save')
  const sections = results.map(section)
  writeFileSync(
    new URL('RESULTS.md', here),
    `${['# Results', INTRODUCTION, environment(results), ...sections].join('\n\n')}\n`,
  )
  for (const { file, result } of results) {
    const picture = PICTURES[file]
    if (picture) writeFileSync(new URL(`../docs/${picture.file}`, here), picture.draw(result))
  }
}

/** In the order of the benches, each with its default number of streams first. */
function readResults(order) {
  const folder = new URL('results/', here)
  const placeOf = ({ bench }) => (order.includes(bench) ? order.indexOf(bench) : order.length)
  const streamsOf = (file) => Number(/-(\d+)$/.exec(file)?.[1] ?? 0)
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => ({
      file: name.replace(/\.json$/, ''),
      result: JSON.parse(readFileSync(new URL(name, folder), 'utf8')),
    }))
    .sort(
      (a, b) =>
        placeOf(a.result) - placeOf(b.result) ||
        streamsOf(a.file) - streamsOf(b.file) ||
        a.result.node.localeCompare(b.result.node),
    )
}

function environment(results) {
  const distinct = (pick) => [...new Set(results.flatMap(({ result }) => pick(result)))].sort()
  const dates = distinct(({ date }) => date)
  const days = dates.length > 1 ? `${dates[0]} to ${dates.at(-1)}` : dates[0]
  const peers = distinct(({ peers: versions }) =>
    Object.entries(versions).map(([name, version]) => `${name} ${version}`),
  )
  const machines = distinct(({ machine }) => machine).join('; ')
  return `${days}, ${machines}, Node ${distinct(({ node }) => node.replace('v', '')).join(', ')}. Peers: ${peers.join(', ')}.`
}

function section({ file, result }) {
  const { command, title, date, rows, parameters } = result
  const runs = parameters.runs === 1 ? 'one run' : `median of ${parameters.runs} runs (range)`
  const parts = [`## \`${command}\`, Node ${result.node.slice(1)}`, `${title}; ${runs}, ${date}.`]
  const picture = PICTURES[file]
  if (picture) parts.push(`![${title}](../docs/${picture.file})`)
  parts.push(figuresTable(result))
  if (result.goals.length > 0) parts.push(goalsTable(result.goals, rows, result.columns))
  const notes = new URL(`results/notes/${file}.md`, here)
  if (existsSync(notes)) parts.push(readFileSync(notes, 'utf8').trim())
  return parts.join('\n\n')
}

function figuresTable({ columns, rows, parameters: { runs } }) {
  const [first] = rows
  if (first === undefined) return 'No contestant came through.'
  const head = ['contestant']
  for (const { title, ratio } of columns) head.push(title, ...(ratio ? [`${first.name} / this`] : []))
  const cells = rows.map(({ name, figures }) => {
    const row = [name]
    for (const { key, digits, ratio } of columns) {
      const figure = figures[key]
      const own = first.figures[key]
      row.push(figure ? printed(figure, digits, runs) : '–')
      if (ratio) row.push(figure && own && name !== first.name ? (own.median / figure.median).toFixed(2) : '')
    }
    return row
  })
  return table(head, cells)
}

function printed({ median, min, max }, digits, runs) {
  const [middle, from, to] = [median, min, max].map((number) => inDigits(number, digits))
  return runs === 1 || from === to ? middle : `${middle} (${from}–${to})`
}

function goalsTable(goals, rows, columns) {
  const cells = goals.map((goal) => {
    const column = columns.find(({ key }) => key === goal.figure)
    const judged = judge(goal, rows)
    const words = inWords({ ...goal, figure: column?.title ?? goal.figure })
    if (judged === undefined) return [words, '–', 'not measured']
    return [words, judged.value.toFixed(2), judged.reached ? 'reached' : 'missed']
  })
  return table(['goal', 'measured', 'outcome'], cells)
}

/** Columns of one width, the first to the left and figures to the right. */
function table(head, rows) {
  const widths = head.map((_, i) => Math.max(3, ...[head, ...rows].map((row) => row[i].length)))
  const line = (row) =>
    `| ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(' | ')} |`
  const rule = widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(head), `| ${rule.join(' | ')} |`, ...rows.map(line)].join('\n')
}
