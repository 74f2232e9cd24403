import { expect } from 'chai'
import type { ClientEvent } from '../../lib/client/index.js'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { type Answer, answering, blocks, type Recorded, record, status } from './recorded.js'

describe('the client as an async iterable', () => {
  let server: Awaited<ReturnType<typeof answering>>
  let client: Recorded

  afterEach(async () => {
    client.stream.close()
    await server.stop()
  })

  async function open(options: Parameters<typeof record>[1], ...answers: readonly Answer[]): Promise<void> {
    server = await answering(...answers)
    client = record(server.url, options)
  }

  const numbered = (from: number, to: number) =>
    range(from, to)
      .map((n) => `event: n\nid: a-${n}\ndata: ${n}\n\n`)
      .join('')

  it('yields every event over all connections, and rejects with the error of the stream', async () => {
    await open({}, blocks(numbered(1, 3)), blocks(numbered(4, 6)), status(404))
    const seen: number[] = []
    let error: unknown
    try {
      for await (const event of client.stream) seen.push(event.json() as number)
    } catch (thrown) {
      error = thrown
    }
    expect(seen).to.deep.equal(range(1, 6))
    expect(error).to.include({ code: 'ERR_SSE_REFUSED', status: 404 })
  })

  it('ends without an error after close(), once the queued events are consumed', async () => {
    await open({}, blocks(numbered(1, 3), true))
    const seen: string[] = []
    for await (const { data } of client.stream) {
      seen.push(data)
      client.stream.close()
    }
    expect(seen).to.deep.equal(['1', '2', '3'])
  })

  it('allows one iteration at a time, and another after a break', async () => {
    await open({}, blocks(numbered(1, 3), true))
    for await (const _ of client.stream) {
      const second = await client.stream[Symbol.asyncIterator]()
        .next()
        .catch((error: Error) => error)
      expect(second).to.be.instanceOf(TypeError)
      break
    }
    const next = client.stream[Symbol.asyncIterator]().next()
    client.stream.close()
    expect(await next).to.deep.equal({ done: true, value: undefined })
  })

  it('stops reading while its consumer lags, and does not treat the pause as silence', async () => {
    let written = 0
    let isFull = false
    const filler = 'x'.repeat(10_000)
    await open({ bufferEvents: 5 }, (_, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write('event: sse.open\ndata: {"heartbeatMs":200}\n\n')
      const write = (): void => {
        while (!isFull && written < 2000) {
          isFull = !res.write(`event: n\nid: a-${++written}\ndata: ${written}\ndata: ${filler}\n\n`)
        }
      }
      res.on('drain', () => {
        isFull = false
        write()
      })
      // Keeps the connection in use after the last event.
      const beating = setInterval(() => written === 2000 && res.write(':\n'), 5)
      res.on('close', () => clearInterval(beating))
      write()
    })
    const iterator = client.stream[Symbol.asyncIterator]()
    const events: ClientEvent[] = []
    const take = async (count: number): Promise<void> => {
      while (events.length < count) {
        const { value, done } = await iterator.next()
        // After the end, next() resolves immediately: without this check the loop would not end.
        if (done) throw new Error(`ended after ${events.length}`)
        if (value.type === 'n') events.push(value)
      }
    }
    await take(1)
    let before = -1
    await eventually(async () => {
      const stalled = written === before
      before = written
      // Longer than the silence after which the client closes a connection.
      await new Promise((resolve) => setTimeout(resolve, 600))
      return stalled
    })
    expect(written).to.be.below(2000)
    expect(client.events.length, 'read').to.be.below(100)
    await take(2000)
    expect(events.map(({ data }) => Number.parseInt(data, 10))).to.deep.equal(range(1, 2000))
    expect(server.requests).to.have.length(1)
  })
})
