/**
 * HTTP/2: frames by hand in any order and form, on connections that are cut at any byte, half-closed, reset or abandoned.
 * The server is another process: some versions of Node abort under such input, with or without the kit. That is counted,
 * and the cases go on with a new process. An error of JavaScript is a violation.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Random } from '../proof/random.js'
import { type Area, type Findings, inParallel, turns } from './area.js'
import { hostileFrames, PREFACE, SETTINGS, statusesIn, wrongSize } from './http2-frames.js'
import { firstAnswer, leave } from './leaving.js'
import { SECRET } from './site.js'

const WIDTH = 16
const MAX_KEPT = 200_000

async function hostileConnection(server: Http2Site, random: Random, findings: Findings): Promise<void> {
  const socket = connect(await server.port(), '127.0.0.1')
  let received: Buffer = Buffer.alloc(0)
  socket.on('error', () => findings.count('connection error'))
  socket.on('data', (chunk: Buffer) => {
    if (received.length < MAX_KEPT) received = Buffer.concat([received, chunk])
  })
  // Refused only while the process is replaced.
  if (!(await connected(socket))) return
  const frames = Array.from({ length: 1 + random.below(12) }, () => hostileFrames(random))
  const bytes = Buffer.concat([PREFACE, SETTINGS, ...(random.chance(0.85) ? frames : [wrongSize(random)])])
  for (let start = 0; start < bytes.length && !socket.destroyed; ) {
    const end = random.chance(0.5) ? bytes.length : start + 1 + random.below(60)
    socket.write(bytes.subarray(start, end))
    start = end
    await turns(random.below(4))
  }
  if (random.chance(0.7)) {
    await firstAnswer(socket)
    // The first answer are the settings of the server.
    await sleep(random.below(8))
  }
  await turns(random.below(20))
  await leave(socket, random)
  if (received.includes(SECRET)) findings.violate('foreign bytes on HTTP/2')
  for (const status of statusesIn(received)) {
    findings.count(status)
    if (status === '500') findings.violate('a 500 on HTTP/2')
  }
}

/** The process with the server. */
class Http2Site {
  readonly #findings: Findings
  #child: ChildProcess | undefined
  #port: Promise<number> | undefined

  constructor(findings: Findings) {
    this.#findings = findings
  }

  /** The port of a server that runs. */
  port(): Promise<number> {
    this.#port ??= this.#start()
    return this.#port
  }

  /** Asks the server for what it has found, and ends it. */
  async check(): Promise<void> {
    await this.port()
    const child = this.#child as ChildProcess
    const answer = new Promise<{ violations: readonly string[] } | undefined>((resolve) => {
      child.once('message', (message) => resolve(message as { violations: readonly string[] }))
      child.once('exit', () => resolve(undefined))
    })
    child.send('check')
    for (const violation of (await answer)?.violations ?? []) this.#findings.violate(violation)
  }

  /** Idempotent. */
  stop(): void {
    this.#child?.kill('SIGKILL')
  }

  async #start(): Promise<number> {
    const child = fork(fileURLToPath(new URL('http2-server.ts', import.meta.url)), [], { execArgv: process.execArgv })
    this.#child = child
    const kill = () => child.kill('SIGKILL')
    process.once('exit', kill)
    child.once('exit', (code, signal) => {
      process.off('exit', kill)
      this.#port = undefined
      if (signal === 'SIGABRT' || signal === 'SIGSEGV') this.#findings.count('Node aborted')
      else if (code !== 0 && signal !== 'SIGKILL') this.#findings.violate(`the server ended with ${code ?? signal}`)
    })
    const [{ port }] = (await once(child, 'message')) as [{ port: number }]
    return port
  }
}

function connected(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('close', () => resolve(false))
  })
}

export const http2: Area = {
  name: 'http2',
  about: 'frames in any order and form, resets, closed windows, lost connections',
  async run(cases, random, findings) {
    const server = new Http2Site(findings)
    try {
      await inParallel(cases, WIDTH, async (number) => {
        await findings.case(
          () => `case ${number}`,
          () => hostileConnection(server, random, findings),
        )
      })
      await server.check()
    } finally {
      server.stop()
    }
  },
}
