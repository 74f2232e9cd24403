/** The part of docs/interop.md about the kit's own client, generated from the rows that the tests assert. */
import { CONNECTIONS, type Conformer } from './connection-rows.js'
import { PARSING } from './parsing-rows.js'

export const BEGIN =
  '<!-- Generated from the rows of test/conformance: UPDATE_DOCS=1 npx mocha test/conformance/docs.test.ts -->'
export const END = '<!-- End of the generated part about the kit’s own client. -->'

const TITLES: Readonly<Record<Conformer, string>> = {
  kit: 'The kit’s client, by `fetch`',
  'kit, native': 'The kit’s client, by `EventSource`',
  Chromium: 'Chromium’s own `EventSource`',
}

export function printDifferences(): string {
  const rows = [...Object.values(PARSING).flat(), ...Object.values(CONNECTIONS).flat()]
  const sections = (Object.keys(TITLES) as Conformer[]).map((client) => {
    // Several rows may have the same reason.
    const reasons = new Set<string>()
    for (const { name, differs } of rows) {
      const difference = differs?.[client]
      if (difference) reasons.add(`- ${difference.when ?? capital(name)}: ${difference.because}`)
    }
    const lines = [...reasons]
    return `**${TITLES[client]}**\n\n${lines.join('\n')}`
  })
  return [BEGIN, ...sections, END].join('\n\n')
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
