import { expect } from 'chai'
import fc from 'fast-check'
import { type Observation, runKit } from './clients.js'
import { cutAt, cuts, TYPES, wireBytes } from './generated.js'
import { bytesOf, headerOf, nextIdOf, PARSING } from './parsing-rows.js'
import { readWhole } from './reference.js'

/** An answer in exactly these pieces. It ends after the last one, or stays open with `held`. */
function inPieces(pieces: Iterable<Uint8Array>, held = false): Response {
  const rest = pieces[Symbol.iterator]()
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const { value, done } = rest.next()
      if (!done) controller.enqueue(value)
      else if (!held) controller.close()
    },
  })
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
}

/** Reads a stream in exactly these pieces, which a network does not guarantee, and returns the next Last-Event-ID. */
async function runInPieces(
  pieces: readonly Uint8Array[],
): Promise<Observation & { readonly next: string | undefined }> {
  const ids: (string | undefined)[] = []
  const bodies = [[Buffer.from('retry: 1\n\n')], pieces]
  const observed = await runKit('http://in.pieces/', {
    types: TYPES,
    fetch: async (_, init) => {
      const header = new Headers(init?.headers).get('last-event-id')
      const parts = bodies[ids.push(header === null ? undefined : Buffer.from(header, 'latin1').toString()) - 1]
      return parts ? inPieces(parts) : new Response(null, { status: 204 })
    },
  })
  return { ...observed, next: ids[2] }
}

describe('the client, compared with the standard, with streams in pieces', () => {
  for (const [group, rows] of Object.entries(PARSING)) {
    describe(`reads ${group} alike, cut at every byte`, () => {
      for (const row of rows) {
        it(row.name, async () => {
          const read = readWhole(bytesOf(row))
          expect(read.events, 'by the reference').to.deep.equal(row.events)
          expect(headerOf(read.id), 'by the reference').to.equal(nextIdOf(row))
          const bytes = bytesOf(row)
          // A long stream is cut only near its beginning and end.
          const places = [...bytes.keys()].filter((at) => at < 60 || at > bytes.length - 60)
          for (const at of places) {
            const { events, next } = await runInPieces(
              [bytes.subarray(0, at), bytes.subarray(at)].filter(({ length }) => length > 0),
            )
            expect(events, `cut at ${at}`).to.deep.equal(row.events)
            expect(next, `cut at ${at}`).to.equal(nextIdOf(row))
          }
          if (bytes.length > 1000) return
          const { events, next } = await runInPieces(Array.from(bytes, (byte) => Uint8Array.of(byte)))
          expect(events, 'byte by byte').to.deep.equal(row.events)
          expect(next, 'byte by byte').to.equal(nextIdOf(row))
        })
      }
    })
  }

  it('delivers an event with its last byte, for each kind of line end', async () => {
    for (const end of ['\n', '\r', '\r\n']) {
      const { events } = await runKit('http://in.pieces/', {
        types: [],
        closeAfter: 1,
        fetch: async () => inPieces([Buffer.from(`data: a${end}${end}`)], true),
      })
      expect(events.map(({ data }) => data)).to.deep.equal(['a'])
    }
  })

  it('reads any stream alike, at any cut', async () => {
    await fc.assert(
      fc.asyncProperty(wireBytes, cuts, async (bytes, fractions) => {
        const read = readWhole(bytes)
        const pieces = cutAt(bytes, fractions)
        const { events, next } = await runInPieces(pieces)
        expect(events).to.deep.equal(read.events)
        expect(next).to.equal(headerOf(read.id))
      }),
      { numRuns: 500 },
    )
  })
})
