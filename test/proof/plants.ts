/**
 * `npm run plants [SEEDS] [TEXT]`: puts one fault at a time into a copy of `lib`, and reports after how many simulated
 * worlds the checker notices it. TEXT selects the faults that contain it. Exits with 1 if a fault is not noticed in any.
 */
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Not here, because nothing that a client can see changes: entries after a hole that are not held (they are read from
 * the history instead), a head that went back within one epoch (the scripts change the epoch before), pages that are
 * kept across epochs (each is compared with the epoch where it is used), a second gap before the first event of
 * `from=earliest` (the client has requested no offset).
 */
interface Plant {
  readonly fault: string
  readonly file: string
  readonly find: string
  readonly replace: string
}

const CHANNEL = 'multiplexer/channel/channel.ts'
const READER = 'multiplexer/reader/log-reader.ts'
const PUBLISHER = 'broker/redis/publisher.ts'
const OUTPUT = 'stream/output.ts'
const SUBSCRIBER = 'broker/redis/subscriber.ts'

const PLANTS: readonly Plant[] = [
  {
    fault: 'two publishing calls of a channel at a time',
    file: PUBLISHER,
    find: 'queue.inFlight = true',
    replace: 'queue.inFlight = false',
  },
  {
    fault: 'a call is not sent in one piece: keys are ignored',
    file: 'broker/redis/queued-call.ts',
    find: 'return this.#publishes[0].idempotencyKey',
    replace: 'return undefined',
  },
  {
    fault: 'a call joins publications across a key',
    file: 'broker/redis/queued-call.ts',
    find: 'if (isAlone(publish) || publish',
    replace: 'if (publish',
  },
  {
    fault: 'attempts get a new number each time',
    file: 'broker/redis/publish-script.ts',
    find: 'all.push(...seen, number',
    replace: 'all.push(...seen, number + Math.random()',
  },
  {
    fault: 'the replies of a call for several channels are mixed up',
    file: 'redis/run.ts',
    find: 'replies[i] as T',
    replace: 'replies[commands.length - 1 - i] as T',
  },
  {
    fault: 'a call does not learn that it was written',
    file: 'redis/run.ts',
    find: '    this.#written = true\n',
    replace: '',
  },
  {
    fault: 'a lost answer counts as not done',
    file: 'redis/run.ts',
    find: 'if (!isRefusal(error) && this.#written && !this.#options.readOnly) this.#unknown = true',
    replace: '',
  },
  {
    fault: 'nothing is read after a resubscription',
    file: CHANNEL,
    find: 'else this.#recover()\n  }\n\n  #accept',
    replace: 'else return\n  }\n\n  #accept',
  },
  { fault: 'held entries are not checked', file: CHANNEL, find: 'complete = false', replace: 'complete = true' },
  {
    fault: 'a new epoch never resets',
    file: CHANNEL,
    find: 'if (kept === undefined) this.#reset({ ...head, offset: 0 })\n    else if',
    replace: 'if (kept === undefined) this.#continueUnder(head)\n    else if',
  },
  {
    fault: 'a known loss is not announced',
    file: CHANNEL,
    find: 'known > kept || head.lossy?.includes(this.epoch)',
    replace: 'false',
  },
  { fault: 'gaps are not announced', file: READER, find: '    this.sendGap(gap)', replace: '' },
  {
    fault: 'a gap is one event too short',
    file: READER,
    find: 'from, to, reason',
    replace: 'from, to: Math.max(from, to - 1), reason',
  },
  {
    fault: 'a page of an old log is used',
    file: READER,
    find: '!this.#closed && channel.epoch === epoch) {',
    replace: '!this.#closed) {',
  },
  {
    fault: 'the id ignores pending resets',
    file: READER,
    find: 'this.positions.unannounced === undefined ? this.cursor() : undefined',
    replace: 'this.cursor()',
  },
  {
    fault: 'a reader that is behind goes live',
    file: READER,
    find: 'if (this.positions.caughtUp) this.#goLive()',
    replace: 'if (this.positions.caughtUp || this.channels.length > 1) this.#goLive()',
  },
  {
    fault: 'a reader keeps its offset at a reset',
    file: READER,
    find: '    position.offset = offset\n    position.reset = reason',
    replace: '    position.reset = reason',
  },
  {
    fault: 'a live reader forgets where it stood',
    file: 'multiplexer/reader/positions.ts',
    find: 'for (const position of this.#positions) position.offset = position.channel.flushed',
    replace: '',
  },
  {
    fault: 'a page is taken for dense',
    file: 'multiplexer/channel/page.ts',
    find: 'return Math.max(offset, next === undefined ? this.end : next.offset - 1)',
    replace: 'return offset',
  },
  {
    fault: 'an old connection may deliver',
    file: SUBSCRIBER,
    find: 'if (subscription?.connection === connection) subscription',
    replace: 'subscription?',
  },
  {
    fault: 'a new connection subscribes to nothing',
    file: SUBSCRIBER,
    find: 'subscription.mustRestore = true',
    replace: 'subscription.mustRestore = false',
  },
  {
    fault: 'entries of a batch get wrong offsets',
    file: 'broker/redis/payload.ts',
    find: 'last - count + 1',
    replace: 'last',
  },
  {
    fault: 'unsubscribed channels stay subscribed',
    file: SUBSCRIBER,
    find: '    await subscription.connection?.remove(name)',
    replace: '',
  },
  {
    fault: 'connections that are dead are not found',
    file: 'redis/handle.ts',
    find: 'this.#probe = new Probe({ connections, probeMs, timeoutMs })',
    replace: 'void Probe',
  },
  {
    fault: 'the window is not kept',
    file: READER,
    find: 'if (!this.mayRunAhead) return',
    replace: 'if (this.closed) return',
  },
  {
    fault: 'an ephemeral event overtakes',
    file: CHANNEL,
    find: '      this.#flush()\n      const beganAt',
    replace: '      const beganAt',
  },
  {
    fault: 'a publication that waits has no deadline',
    file: PUBLISHER,
    find: '    this.#expiry ??= this.#clock.after(this.#timeoutMs, this.#expire)',
    replace: '',
  },
  {
    fault: 'drops are announced after the next event',
    file: OUTPUT,
    find: '    if (this.#queue !== undefined) this.reportDrops()',
    replace: '',
  },
  {
    fault: 'entries overtake the queue',
    file: OUTPUT,
    find: "this.#queue.length > 0 && this.options.queuePolicy !== 'replay'",
    replace: 'this.closing !== undefined',
  },
  {
    fault: 'an unconfirmed acknowledgement is not repeated',
    file: 'client/acks.ts',
    find: 'else if (pending.total - pending.confirmed >= pending.window) repeat(pending)',
    replace: '',
  },
  {
    fault: 'replaced logs are forgotten',
    file: 'broker/redis/seen-positions.ts',
    find: 'const known = seen === undefined ? [] : [seen, ...seen.replaced]',
    replace: 'const known = seen === undefined ? [] : [seen]',
  },
  {
    fault: 'a stream outlives its session',
    file: 'stream/deadlines.ts',
    find: 'this.#expiresAt = expiresAt || undefined',
    replace: 'this.#expiresAt = undefined',
  },
  {
    fault: 'a poll outlives its session',
    file: 'multiplexer/poll-opener.ts',
    find: 'auth?.expiresAt ? auth.expiresAt - clock.wallTime() : maxWaitMs',
    replace: 'maxWaitMs',
  },
  {
    fault: 'revocations of other processes are not looked up',
    file: 'auth/revocations.ts',
    find: 'new RevocationWatch(this.#checkMs,',
    replace: 'new RevocationWatch(1_000_000,',
  },
  {
    fault: 'a tab does not notice that it missed events',
    file: 'client/tabs.ts',
    find: 'if (isBeyond(message.before, replay.position) || lacks(message.event.id, replay.position)) hello()',
    replace: 'if (message.before === undefined) hello()',
  },
  {
    fault: 'a tab that was too far behind gets no later gap',
    file: 'client/replay.ts',
    find: '[behindEvent(replay.position), ...(replay.since(replay.position) ?? [])]',
    replace: '[behindEvent(replay.position)]',
  },
  { fault: 'a stream outlives its client', file: 'stream/sse-stream.ts', find: '.onOver(', replace: '.onEnded(' },
  {
    fault: 'the end of a channel is not notified',
    file: CHANNEL,
    find: '    this.#endsAt = offset\n    this.#notifyEnd()\n',
    replace: '',
  },
  {
    fault: 'a stream ends before the last events of its channel',
    file: READER,
    find: 'if (!this.positions.live || !this.channels.every(({ ended }) => ended)) return',
    replace: 'if (!this.channels.every(({ ended }) => ended)) return',
  },
  {
    fault: 'a tab that lacks events takes over the end',
    file: 'client/tabs.ts',
    find: "if (isSynced || change.reason !== 'completed') onState(change)",
    replace: 'onState(change)',
  },
]

/** Longer than the worlds of one fault take. Then the run ends, and prints what it has done. */
const LIMIT_MS = 900_000

const root = fileURLToPath(new URL('../..', import.meta.url))
const [, , seeds = '2000', text = ''] = process.argv
const plants = PLANTS.filter(({ fault }) => fault.includes(text))
let missed = 0
for (const plant of plants) {
  const worlds = await plantAndRun(plant)
  if (worlds === undefined) missed++
  console.log(`${worlds === undefined ? `not in ${seeds}` : `in world ${worlds}`.padStart(13)}  ${plant.fault}`)
}
console.log(`${plants.length - missed} of ${plants.length} faults found`)
process.exit(missed > 0 ? 1 : 0)

/** @returns in which world the fault was noticed; `undefined`: in none */
async function plantAndRun({ file, find, replace, fault }: Plant): Promise<number | undefined> {
  const copy = await mkdtemp(join(tmpdir(), 'sse-plant-'))
  try {
    for (const name of ['lib', 'test/proof', 'package.json', 'tsconfig.json']) {
      await cp(join(root, name), join(copy, name), { recursive: true })
    }
    await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
    const path = join(copy, 'lib', file)
    const source = await readFile(path, 'utf8')
    if (!source.includes(find)) throw new Error(`${file} does not contain the code that "${fault}" replaces`)
    await writeFile(path, source.replaceAll(find, replace))
    return await firstFailure(copy)
  } finally {
    await rm(copy, { recursive: true, force: true })
  }
}

function firstFailure(copy: string): Promise<number | undefined> {
  const args = ['--import', 'tsx', 'test/proof/simulation/run.ts', '--seeds', seeds, '--stop']
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      args,
      { cwd: copy, timeout: LIMIT_MS, maxBuffer: 50_000_000 },
      (error, stdout, stderr) => {
        const summary = /\{"seeds".*\}/.exec(stdout)?.[0]
        // A fault that makes a process crash was noticed too.
        if (summary === undefined) return /worker ended/.test(stderr) ? resolve(1) : reject(error)
        const { seeds: worlds, failed, unhandled } = JSON.parse(summary) as Record<string, number>
        resolve((failed ?? 0) + (unhandled ?? 0) > 0 ? worlds : undefined)
      },
    )
  })
}
