import { expect } from 'chai'
import { createEventBus, type EventBus, type SharedStream } from '../../lib/client/bus.js'
import { type ClientEvent, createEventStream } from '../../lib/client/index.js'
import { eventually } from '../helpers/eventually.js'

/** How often a listener that replaces itself does so: a wrong implementation must end. */
const ENOUGH = 100

describe('listeners that are added and removed while an event is delivered', () => {
  let send: (blocks: string) => void
  let bus: EventBus
  let opened: number
  let shares: SharedStream[]

  beforeEach(() => {
    opened = 0
    shares = []
    bus = createEventBus({ fetch: respond, lingerMs: 0 })
  })
  afterEach(() => {
    for (const share of shares) share.close()
  })

  async function respond(_url: unknown, { signal }: RequestInit = {}): Promise<Response> {
    opened++
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        send = (blocks) => controller.enqueue(new TextEncoder().encode(blocks))
        signal?.addEventListener('abort', () => controller.error(signal.reason))
        send('id: a-5\nevent: sse.open\ndata: {}\n\n')
      },
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  }

  function listen(cursor?: string): SharedStream {
    const share = bus.stream('http://kit/', { cursor })
    shares.push(share)
    return share
  }

  async function share(): Promise<SharedStream> {
    const share = listen()
    await eventually(() => share.cursor === 'a-5')
    return share
  }

  const numbered = (n: number) => `id: a-${n}\nevent: n\ndata: ${n}\n\n`

  it('are each called once, also one that replaces itself', async () => {
    const stream = createEventStream('http://kit/', { fetch: respond })
    const seen: string[] = []
    let stop = (): void => undefined
    const replace = ({ data }: ClientEvent): void => {
      seen.push(data)
      stop()
      if (seen.length < ENOUGH) stop = stream.on('n', replace)
    }
    stop = stream.on('n', replace)
    await eventually(() => stream.state === 'open')
    send(numbered(6) + numbered(7))
    await eventually(() => seen.includes('7'))
    expect(seen).to.deep.equal(['6', '7'])
    stream.close()
  })

  it('are removed one by one, also if one function listens twice', async () => {
    const stream = await share()
    const seen: string[] = []
    const listener = ({ data }: ClientEvent): void => void seen.push(data)
    const [first, second] = [stream.on('n', listener), stream.on('n', listener)]
    send(numbered(6))
    await eventually(() => seen.length > 0)
    first()
    first()
    send(numbered(7))
    await eventually(() => stream.cursor === 'a-7')
    second()
    const third = stream.on('n', listener)
    first()
    second()
    send(numbered(8))
    await eventually(() => stream.cursor === 'a-8')
    third()
    send(numbered(9))
    await eventually(() => stream.cursor === 'a-9')
    expect(seen).to.deep.equal(['6', '6', '7', '8'])
  })

  it('get no announcement of losses before they joined, also if they replace a listener that got one', async () => {
    let announced = 0
    const seen: string[] = []
    const listenTo = (stream: SharedStream): void => {
      stream.on('n', ({ data }) => void seen.push(data))
      stream.on('sse.gap', () => {
        stream.close()
        if (++announced < ENOUGH) listenTo(listen())
      })
    }
    listenTo(await share())
    send(`event: sse.gap\ndata: {"channel":"log","from":6,"to":8,"reason":"trimmed"}\n\n${numbered(9)}`)
    await eventually(() => seen.length > 0)
    expect(announced).to.equal(1)
    expect(seen).to.deep.equal(['9'])
    expect(opened).to.equal(1)
  })

  it('get every event after they joined, also those of the same read', async () => {
    const first = await share()
    const seen: string[] = []
    first.on('n', ({ data }) => {
      if (data !== '6') return
      listen().on('n', (event) => void seen.push(event.data))
    })
    send(numbered(6) + numbered(7) + numbered(8))
    await eventually(() => seen.includes('8'))
    expect(seen).to.deep.equal(['7', '8'])
  })

  it('get no event after they closed their share, also after a reset', async () => {
    await share()
    const ahead = listen('a-9')
    const seen: string[] = []
    ahead.on('*', ({ type }) => {
      seen.push(type)
      ahead.close()
    })
    // Another log continues from a lower offset.
    send(numbered(6).replace('a-', 'b-'))
    await eventually(() => shares[0]?.cursor === 'b-6')
    expect(seen).to.deep.equal(['sse.reset'])
  })

  it('do not reconnect the stream of the others after they closed their share', async () => {
    const [open, closed] = [await share(), await share()]
    closed.close()
    closed.reconnect()
    expect(closed.state).to.equal('closed')
    send(numbered(6))
    await eventually(() => open.cursor === 'a-6')
    expect(opened).to.equal(1)
  })
})
