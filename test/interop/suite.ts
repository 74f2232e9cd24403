/** Asserts the row of a client against the client itself. Each test is a column of the table. */
import { setTimeout } from 'node:timers/promises'
import { expect } from 'chai'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import type { ClientRow } from './clients.js'
import type { Connection, Open, OpenOptions } from './connection.js'
import { EPHEMERAL, plain, SCRIPT, type Seen } from './script.js'
import { InteropServer, type InteropServerOptions } from './server.js'

const numbers = (from: number, to: number) => range(from, to).map((data) => ({ event: 'n', data }))

/** @param open connects the client to a URL of the server @param serverOptions options that the adapter requires */
export function interopSuite(
  row: ClientRow,
  open: (server: InteropServer, ...args: Parameters<Open>) => ReturnType<Open>,
  serverOptions: () => InteropServerOptions = () => ({}),
): void {
  let server: InteropServer
  let connections: Connection[]

  beforeEach(() => {
    connections = []
  })
  afterEach(async () => {
    for (const connection of connections) await connection.close()
    await server.stop()
  })

  const start = async (options: InteropServerOptions = {}): Promise<void> => {
    server = await InteropServer.start({ ...serverOptions(), ...options })
  }

  /** Opens the client and waits until its stream is open: then the client has a position. */
  async function connect(path: string, options?: OpenOptions): Promise<Connection> {
    const connection = await request(path, options)
    await sees(connection, 'sse.open')
    return connection
  }

  async function request(path: string, options?: OpenOptions): Promise<Connection> {
    const connection = await open(server, `${server.url}${path}`, options)
    connections.push(connection)
    return connection
  }

  async function sees(connection: Connection, type: string, times = 1): Promise<void> {
    await eventually(async () => (await connection.seen()).filter((event) => event.type === type).length >= times)
  }

  /** The events of the channel that the clients received. An empty message may be a heartbeat. */
  async function received(...of: readonly Connection[]): Promise<Seen[]> {
    const seen = await Promise.all(of.map((connection) => connection.seen()))
    return seen.flat().filter(({ type, data, id }) => !type.startsWith('sse.') && (data !== '' || id !== ''))
  }

  const reads = (event: Seen): Seen => plain(row.reads?.(event) ?? event)

  async function assertReceived(events: readonly Seen[], ...by: readonly Connection[]): Promise<void> {
    await eventually(async () => (await received(...by)).length >= events.length)
    const seen = await received(...by)
    const expected = events.map(reads)
    // Compared one by one: one event is large, and a message with all of them would be unreadable.
    for (const [index, event] of expected.entries()) expect(seen[index], `event ${index}`).to.deep.equal(event)
    expect(seen).to.have.length(expected.length)
  }

  const over = (connection: Connection) => eventually(() => connection.isOver())

  async function assertReceivesScript(path: string, options?: OpenOptions): Promise<Connection> {
    const connection = await connect(path, options)
    for (const events of [SCRIPT, [EPHEMERAL], SCRIPT]) {
      await server.publish(events)
      await assertReceived(server.published, connection)
    }
    return connection
  }

  /** Publishes continuously. @returns stops publishing */
  function publishOn(): () => Promise<void> {
    let isOver = false
    const publishing = (async () => {
      for (let n = 1; !isOver; n++) {
        await server.publish(numbers(n, n))
        await setTimeout(1)
      }
    })()
    return () => {
      isOver = true
      return publishing
    }
  }

  it('receives every event once, in order and unchanged', async () => {
    await start()
    await assertReceivesScript('/stream')
  })

  it('receives the same events behind compressing middleware, uncompressed', async () => {
    await start()
    await assertReceivesScript('/compressed')
    expect(server.answers('/compressed').map(({ encoding }) => encoding)).to.deep.equal([undefined])
  })

  if (row.http2 === 'yes') {
    it('receives the same events over HTTP/2, and resumes there', async () => {
      await start({ http: 2 })
      const connection = await assertReceivesScript('/stream', { ca: server.certificate })
      server.cut()
      await server.publish(numbers(1, 3))
      if (row.cut === 'resumes') await assertReceived(server.published, connection)
      else await over(connection)
      expect(server.strangers).to.equal(0)
    })
  } else {
    it('does not support HTTP/2', async () => {
      await start({ http: 2 })
      await request('/stream', { ca: server.certificate })
      await eventually(() => server.strangers > 0)
      expect(server.opened('/stream')).to.equal(0)
    })
  }

  it('reads the position at which the stream begins, and the reset of a channel', async () => {
    await start()
    const connection = await connect('/stream?last_event_id=lost-1')
    await server.publish(numbers(1, 1))
    await assertReceived(server.published, connection)
    const [opened, reset] = await connection.seen()
    // A position that depends on an unannounced reset is not sent as an id.
    expect(opened).to.deep.include({ type: 'sse.open', id: '' })
    expect(JSON.parse(opened?.data ?? '')).to.include({ heartbeatMs: 25_000 })
    expect(reset).to.deep.include({ type: 'sse.reset', id: `${server.published[0]?.id.split('-')[0]}-0` })
    expect(JSON.parse(reset?.data ?? '')).to.deep.equal({ channel: 'log', reason: 'log_replaced' })
  })

  it(`treats heartbeats as: ${row.heartbeats}`, async () => {
    await start()
    const connection = await connect('/stream')
    server.beat()
    await server.publish(numbers(1, 1))
    await assertReceived(server.published, connection)
    const types = (await connection.seen()).map(({ type, data }) => [type, data].join(' ').trim())
    const heartbeats = row.heartbeats === 'ignored' ? [] : ['message']
    expect(types.slice(1)).to.deep.equal([...heartbeats, 'n 1'])
  })

  it(`${row.cut} when its connection is cut`, async () => {
    await start()
    const connection = await connect('/stream')
    const stop = publishOn()
    for (const round of range(1, row.cut === 'resumes' ? 5 : 1)) {
      const before = server.published.length
      await eventually(() => server.published.length > before + 10)
      server.cut()
      if (row.cut === 'resumes') await sees(connection, 'sse.open', 1 + round)
    }
    await stop()
    if (row.cut === 'resumes') {
      await assertReceived(server.published, connection)
      expect(await connection.isOver()).to.equal(false)
      const cursors = server.answers('/stream').map(({ lastEventId }) => lastEventId)
      expect(cursors.slice(1)).to.not.include(undefined)
      return
    }
    await over(connection)
    const last = (await connection.seen()).at(-1)?.id
    await assertReceived(server.published, connection, await connect(`/stream?last_event_id=${last}`))
  })

  it(`${row.ended} when the server has ended its stream`, async () => {
    await start()
    const connection = await connect('/stream')
    await server.publish(numbers(1, 3))
    server.age()
    await server.publish(numbers(4, 6))
    await sees(connection, 'sse.reconnect')
    if (row.ended === 'resumes') await assertReceived(server.published, connection)
    else await over(connection)
    expect(server.opened('/stream')).to.equal(row.ended === 'resumes' ? 2 : 1)
  })

  if (row.retry === 'honoured') {
    it('waits for the time in retry:', async () => {
      await start()
      // A second client with a long retry: a client that ignores the field would reconnect both alike.
      await connect('/patient')
      const quick = await connect('/stream')
      for (const round of range(1, 4)) {
        server.cut()
        await sees(quick, 'sse.open', 1 + round)
      }
      expect(server.opened('/patient')).to.equal(1)
    })
  }

  it(`${row.unavailable} after a 503`, async () => {
    await start()
    const path = '/refused-by-status'
    const connection = await connect(path)
    await server.publish(numbers(1, 3))
    await assertReceived(server.published, connection)
    server.press()
    server.cut()
    if (row.unavailable === 'stops') {
      const stranger = row.cut === 'ends' ? await request(path) : connection
      await over(stranger)
      expect(server.opened(path)).to.equal(2)
      expect(server.answers(path)[1]).to.include({ status: 503, retryAfter: '1' })
      return
    }
    await eventually(() => server.opened(path) >= 3)
    expect(server.answers(path)[1]).to.include({ status: 503, retryAfter: '1' })
    const before = server.published
    await server.publish(numbers(4, 5))
    server.relax()
    await sees(connection, 'sse.open', 2)
    const missed = row.unavailable === 'resumes' ? 0 : 2
    await server.publish(numbers(6, 6))
    const after = server.published.slice(3 + missed)
    await assertReceived([...before.slice(0, 3), ...after], connection)
  })

  it(`${row.noContent} after a 204`, async () => {
    await start()
    const connection = await request('/no-content')
    if (row.noContent === 'reconnects') {
      await eventually(() => server.opened('/no-content') >= 2)
      return
    }
    await over(connection)
    expect(server.opened('/no-content')).to.equal(1)
  })

  it(`${row.refused} when a stream that ends refuses it`, async () => {
    await start()
    server.press()
    const connection = await request('/refused-by-stream')
    await sees(connection, 'sse.reconnect')
    expect(JSON.parse((await connection.seen())[0]?.data ?? '')).to.include({ reason: 'overloaded' })
    if (row.refused === 'ends') {
      await over(connection)
      return
    }
    server.relax()
    await sees(connection, 'sse.open')
    await server.publish(numbers(1, 3))
    await assertReceived(server.published, connection)
    server.press()
    server.cut()
    await sees(connection, 'sse.reconnect', 2)
    await server.publish(numbers(4, 6))
    server.relax()
    await assertReceived(server.published, connection)
    expect(await connection.isOver()).to.equal(false)
  })
}
