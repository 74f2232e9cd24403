/**
 * publisher, broker ─► **commands** ─► scripts in Redis: every command except subscriptions. Owns the arguments and
 * replies of the scripts, and the bound on pending commands. Must not know which events share a call (publisher.ts),
 * how Redis recognises its attempts (attempts.ts), nor when there is another attempt (redis/run.ts).
 */
import type { Redis } from 'ioredis'
import type { Clock } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError, SseError } from '../../core/errors.js'
import type { LogEntry } from '../../core/message.js'
import type { Head, Position } from '../../core/position.js'
import { isCluster } from '../../redis/connect.js'
import type { Send } from '../../redis/connection.js'
import { reportBrokerError } from '../../redis/errors.js'
import { AwaitedCommand, alone, RedisHandle } from '../../redis/handle.js'
import { type Command, type CommandReport, reportCommand, type SendAll } from '../../redis/run.js'
import type { RedisSource } from '../../redis/source.js'
import type { HistoryPage } from '../broker.js'
import type { ResolvedHistoryOptions } from '../options.js'
import { PublishAttempts } from './attempts.js'
import { Keys, takeNamespace } from './keys.js'
import { freshEpochs, headOf, seenArgs } from './open-log.js'
import { ephemeralMessage, parseLogged } from './payload.js'
import { BroadcastCommand, callsOf, type PublishCall, PublishCommand, type Publishing } from './publish-calls.js'
import { metaTtl, type PublicationReply, type PublishScriptOptions, sendPublications } from './publish-script.js'
import { type RedisWithScripts, type StreamEntries, withScripts } from './scripts.js'
import { SeenPositions } from './seen-positions.js'

/** The maximum number of commands that are in flight or wait for the connection. Further commands fail immediately. */
const MAX_PENDING = 10_000
const EMPTY = Buffer.alloc(0)
/** The commands that change nothing that matters to a caller. */
const READ_ONLY: ReadonlySet<string> = new Set(['open', 'read', 'ping'])

export interface RedisCommandsOptions extends ResolvedHistoryOptions {
  readonly redis: RedisSource
  readonly prefix: string
  readonly commandTimeoutMs: number
  readonly probeMs: number
  /** Further connections that are tested. */
  readonly otherConnections: () => readonly Redis[]
}

export class RedisCommands {
  readonly keys: Keys
  readonly #redis: RedisHandle<RedisWithScripts>
  readonly #options: RedisCommandsOptions
  readonly #clock: Clock
  readonly #seen = new SeenPositions()
  readonly #attempts: PublishAttempts
  readonly #scriptOptions: PublishScriptOptions
  readonly #publishing: Publishing
  #pending = 0

  constructor(options: RedisCommandsOptions, clock: Clock) {
    const { redis, commandTimeoutMs, probeMs, otherConnections } = options
    this.#options = options
    this.#clock = clock
    this.#attempts = new PublishAttempts(commandTimeoutMs, clock)
    let namespace = { keyPrefix: '', db: 0 }
    this.#redis = new RedisHandle(redis, {
      connectionName: 'express-sse-kit:commands',
      commandTimeoutMs,
      probeMs,
      clock,
      use: 'own',
      unrefWhenIdle: true,
      otherConnections,
      prepare: (client) => {
        namespace = takeNamespace(client)
        withScripts(client)
      },
    })
    const { publisherId, ttlMs: lastPublicationTtlMs } = this.#attempts
    this.keys = new Keys(namespace.keyPrefix + options.prefix, namespace.db)
    this.#scriptOptions = { ...options, publisherId, lastPublicationTtlMs, pubSubSuffix: this.keys.pubSubSuffix }
    this.#publishing = { keys: this.keys, seen: this.#seen, onSettled: this.#onSettled }
  }

  get client(): RedisWithScripts {
    return this.#redis.client
  }

  get ready(): boolean {
    return this.#redis.ready
  }

  /** @throws BrokerError */
  whenReady(timeoutMs: number): Promise<void> {
    return this.#redis.whenReady(timeoutMs)
  }

  /** The error for accepted events that were not sent before their deadline. */
  notSentError(): BrokerError {
    if (!this.ready) return this.#redis.unavailable()
    return new BrokerError(
      'ERR_SSE_BROKER_UNAVAILABLE',
      `Not sent: Redis did not reply to the previous publish within ${this.#options.commandTimeoutMs} ms`,
    )
  }

  /**
   * Adds the events to the logs and sends them to subscribers, each call's as one step. A channel must have at most one
   * call in flight: the next call may start when the previous one has settled. Several calls reach Redis together.
   */
  append(calls: readonly PublishCall[]): void {
    const now = this.#clock.wallTime()
    const commands = calls.map((call) => new PublishCommand(call, this.#attempts.nextNumber(), this.#publishing, now))
    for (const together of callsOf(commands, this.client)) this.#runAll('publish', together, this.#sendPublications)
  }

  /** Sends ephemeral events to subscribers. They enter no log. */
  broadcast(call: PublishCall): void {
    const message = ephemeralMessage(call.events, this.#clock.wallTime())
    const name = this.keys.pubSub(call.channel)
    const command = new BroadcastCommand(call, this.#onSettled)
    this.#runAll<unknown, BroadcastCommand>('broadcast', [command], async (_, client) => [
      await send(client, name, message),
    ])
  }

  /** Sends a signal. @returns the number of subscribed connections */
  signal(name: string, text: string): Promise<number> {
    return this.#run('signal', (client) => send(client, name, text))
  }

  /** Calls `send`; the commands that it sends reach the socket in one write. */
  inOneWrite(send: () => void): void {
    // A connection that is not ready has no socket to cork. Its commands wait.
    const sockets = this.#redis.connections.filter(({ status }) => status === 'ready').map(({ stream }) => stream)
    for (const socket of sockets) socket.cork()
    try {
      send()
    } finally {
      for (const socket of sockets) socket.uncork()
    }
  }

  /** Returns the log's head, and keeps the log for another `metaTtlMs`. Creates a log that does not exist. */
  async openLog(channel: string): Promise<Head> {
    const ttlMs = metaTtl(this.#scriptOptions, this.#options.retentionOf(channel))
    const [epoch, offset, earlier, ended] = await this.#run('open', (client) =>
      client.sseOpen(
        this.keys.meta(channel),
        this.keys.stream(channel),
        freshEpochs(),
        ...seenArgs(this.#seen, channel),
        ttlMs,
      ),
    )
    const head = headOf(this.#seen, channel, [epoch, offset, earlier])
    return ended === 1 ? { ...head, ended: true } : head
  }

  async read(channel: string, after: number, limit: number, maxBytes: number): Promise<HistoryPage> {
    const [epochBytes, offset, endOffset, streamEntries] = await this.#run('read', (client) =>
      client.sseReadBuffer(this.keys.meta(channel), this.keys.stream(channel), after, limit, maxBytes),
    )
    const epoch = epochBytes?.toString() ?? ''
    const found = this.#parseEntries(channel, epoch, after, streamEntries)
    const entries = withinBounds(found, limit, maxBytes)
    const end = entries.length < found.length ? (entries.at(-1)?.offset ?? after) : Number(endOffset)
    return { head: { epoch, offset: Number(offset) }, entries, end }
  }

  /**
   * The entries after an offset, in ascending order whatever the stream has: readers depend on it. An entry that the
   * kit did not write is missing, so clients get `sse.gap`.
   */
  #parseEntries(channel: string, epoch: string, after: number, streamEntries: StreamEntries): readonly LogEntry[] {
    const found: LogEntry[] = []
    let previous = 0
    let foreign = 0
    for (const [id, [, payload = EMPTY]] of streamEntries) {
      const last = Number.parseInt(id.toString('latin1'), 10)
      const entries = parseLogged(epoch, last, payload)
      if (entries?.[0] === undefined || entries[0].offset <= previous) {
        foreign++
        continue
      }
      for (const entry of entries) if (entry.offset > after) found.push(entry)
      previous = last
    }
    if (foreign > 0) {
      const text = `Ignored ${foreign} entries of ${this.keys.stream(channel)} that express-sse-kit did not write`
      reportBrokerError('read', new SseError('ERR_SSE_MESSAGE_FOREIGN', text))
    }
    return found
  }

  /** Resolves if Redis replies and permits PUBLISH. */
  async ping(): Promise<void> {
    await this.#run('ping', (client) => send(client, this.keys.ping(), ''))
  }

  /** Notes a position that a subscriber received, so that a log which lost it can be detected. */
  noteSeen(channel: string, position: Position): void {
    this.#seen.note(channel, position)
  }

  /** Idempotent. */
  close(): void {
    this.#redis.close()
  }

  #run<T>(command: string, send: Send<T, RedisWithScripts>): Promise<T> {
    const awaited = new AwaitedCommand<T>(this.#clock.now(), this.#options.commandTimeoutMs, this.#onSettled)
    this.#runAll(command, [awaited], alone(send))
    return awaited.outcome
  }

  #runAll<T, K extends Command<T>>(name: string, commands: readonly K[], send: SendAll<T, K, RedisWithScripts>): void {
    this.#pending += commands.length
    // All may be retried: `publish` because Redis recognises its attempts, the others because they may repeat.
    const report = { to: diagnostics.brokerCommand, command: name }
    const overload = this.#overload(report)
    if (overload === undefined) {
      this.#redis.runAll(commands, send, { retries: true, readOnly: READ_ONLY.has(name), report })
      return
    }
    for (const command of commands) {
      command.reject(overload)
      command.onSettled()
    }
  }

  readonly #onSettled = (): void => {
    this.#pending--
  }

  /** The error for further commands, which is reported; `undefined`: they may be sent. */
  #overload(report: CommandReport): BrokerError | undefined {
    if (this.#pending <= MAX_PENDING) return undefined
    const text = `${MAX_PENDING} commands are already waiting for Redis: try again later`
    const error = new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', text)
    reportCommand(report, 0, error)
    return error
  }

  readonly #sendPublications: SendAll<PublicationReply, PublishCommand, RedisWithScripts> = async (
    commands,
    client,
  ) => {
    const attempts = this.#attempts
    const { retention } = commands[0] as PublishCommand
    const [, ...replies] = await attempts.settle(
      sendPublications(client, commands, this.#scriptOptions, retention, attempts.deadline),
    )
    return replies
  }
}

/** Cuts the entries off at the bounds. One stream entry in Redis may hold many events, so READ may return too many. */
function withinBounds(entries: readonly LogEntry[], limit: number, maxBytes: number): readonly LogEntry[] {
  let bytes = 0
  for (const [i, { body }] of entries.entries()) {
    bytes += body.length
    if (i === limit || (i > 0 && bytes > maxBytes)) return entries.slice(0, i)
  }
  return entries
}

function send(client: RedisWithScripts, name: string, message: string | Buffer): Promise<number> {
  return isCluster(client) ? (client.spublish(name, message) as Promise<number>) : client.publish(name, message)
}
