/** Asserts the rows against one client, in Node or in a browser. */
import { expect } from 'chai'
import { blocks, status } from '../client/recorded.js'
import type { Observation, RunOptions } from './clients.js'
import { CONNECTIONS, type Conformer, type ConnectionRow } from './connection-rows.js'
import { bytesOf, nextIdOf, PARSING, type ParsingRow } from './parsing-rows.js'
import { chunks, held, type Run, type ScriptServer } from './script-server.js'

/**
 * The answer to the first connection of each run. It is a separate connection, so that a byte order mark of a row is at
 * the beginning of its stream. A client that accepts this `retry:` reconnects soon, any other not during the test.
 */
export const PRELUDE = blocks('retry: 20\n\n')

export type RunClient = (run: Run, options: RunOptions) => Promise<Observation>

/** @param server the server of the runs, which the client can reach */
export function conformanceSuite(client: Conformer, runClient: RunClient, server: () => ScriptServer): void {
  // By EventSource the kit's client does not see a 204 and retries: a request without an answer leaves the test time to
  // close it, however slow the page is.
  const final = client === 'kit, native' ? held : status(204)
  const runs: { readonly run: Run; readonly requests: number }[] = []

  async function observe(
    row: Pick<ConnectionRow, 'answers' | 'options'>,
    types: readonly string[],
  ): Promise<Observation & { readonly run: Run }> {
    const run = server().run([PRELUDE, ...row.answers], final)
    const observed = await runClient(run, { types, ...row.options })
    for (const { method, accept, cacheControl } of run.requests) {
      expect({ method, accept, cacheControl }).to.deep.equal({
        method: 'GET',
        accept: 'text/event-stream',
        cacheControl: 'no-cache',
      })
    }
    runs.push({ run, requests: run.requests.length })
    return { ...observed, run }
  }

  async function assertReads(row: ParsingRow): Promise<void> {
    const expected = { ...row, ...row.differs?.[client] }
    const types = row.events.map(({ type }) => type)
    const { events, run } = await observe({ answers: [chunks(bytesOf(row))] }, types)
    expect(events).to.deep.equal(expected.events)
    expect(run.requests.map(({ lastEventId }) => lastEventId)).to.deep.equal([undefined, undefined, nextIdOf(expected)])
  }

  async function assertConnects(row: ConnectionRow): Promise<void> {
    const { events, requests } = { ...row.standard, ...row.differs?.[client] }
    const observed = await observe(row, ['sse.close', 'sse.reconnect', 'x'])
    expect(observed.events.map(({ data, id }) => `${data} ${id}`.trim())).to.deep.equal(events)
    const reconnects = observed.run.requests.slice(1).map(({ at, lastEventId = '' }) => `${at} ${lastEventId}`.trim())
    expect(reconnects).to.deep.equal(requests)
    if (client !== 'kit') return
    // A wait that ends immediately does not count.
    if (row.waits) expect(observed.delays[1] ?? 0).to.be.within(...row.waits)
    if (row.tokens)
      expect(observed.run.requests.map(({ authorization }) => authorization?.split(' ')[1])).to.deep.equal(row.tokens)
    const isFinal = !observed.run.isOver && row.options?.closeAfter === undefined
    if (isFinal || row.code) expect(observed.code).to.equal(row.code)
  }

  for (const [group, rows] of Object.entries(PARSING)) {
    describe(`reads ${group}`, () => {
      for (const row of rows) it(row.name, () => assertReads(row))
    })
  }
  for (const [group, rows] of Object.entries(CONNECTIONS)) {
    describe(`handles ${group}`, () => {
      for (const row of rows) it(row.name, () => assertConnects(row))
    })
  }

  it('never reconnects after it is closed', () => {
    for (const { run, requests } of runs) expect(run.requests).to.have.length(requests)
  })
}
