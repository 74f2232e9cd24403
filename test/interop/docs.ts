/** The part of docs/interop.md between the two marks, generated from the rows that the tests assert. */
import { CLIENTS, type ClientRow, versionOf } from './clients.js'

export const BEGIN =
  '<!-- Generated from test/interop/clients.ts: UPDATE_DOCS=1 npx mocha test/interop/docs.test.ts -->'
export const END = '<!-- End of the generated part. -->'

type Column = readonly [title: string, cell: (row: ClientRow) => string]

const COLUMNS: readonly Column[] = [
  ['Version', versionOf],
  ['Runs in', ({ runsIn }) => runsIn],
  ['Events', ({ reads }) => (reads ? 'all; see note' : 'all')],
  ['Heartbeats', ({ heartbeats }) => heartbeats],
  ['Connection cut', ({ cut }) => cut],
  ['Stream ended', ({ ended }) => ended],
  ['`retry:`', ({ retry }) => retry],
  ['503', ({ unavailable }) => unavailable],
  ['204', ({ noContent }) => noContent],
  ['Refused by stream', ({ refused }) => refused],
  ['HTTP/2', ({ http2 }) => http2],
]

export function printClients(): string {
  const rows = Object.entries(CLIENTS) as [string, ClientRow][]
  const cells = [
    ['Client', ...COLUMNS.map(([title]) => title)],
    ...rows.map(([name, row]) => [name, ...COLUMNS.map(([, cell]) => cell(row))]),
  ]
  const notes = rows.map(([name, row]) => `**${name}**\n\n${row.notes.map((note) => `- ${note}`).join('\n')}`)
  return [BEGIN, printTable(cells), ...notes, END].join('\n\n')
}

function printTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const lines = rows.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`)
  return [lines[0], `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...lines.slice(1)].join('\n')
}
