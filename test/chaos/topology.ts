/** The interface of an arrangement of Redis servers, and the code that the arrangements share. */
import { Redis } from 'ioredis'
import type { Random } from '../proof/random.js'

/** The target of a process under test: a URL, ioredis options, or nodes of a cluster. */
export type Source = string | Readonly<Record<string, unknown>>

export interface Fault {
  /** Resolves when the fault is over. `calm` undoes its remaining effects. */
  strike(): Promise<void>
  /** Ends or stops servers, so it does not run beside another fault of this kind. */
  readonly exclusive?: boolean
}

export interface Topology {
  /** One for each process under test: the first is connected directly, the second through proxies. */
  readonly sources: readonly Source[]
  readonly faults: Readonly<Record<string, Fault>>
  /** Undoes the remaining effects of the faults, and waits until Redis itself is healthy. */
  calm(): Promise<void>
  /** Stops Redis from answering. */
  hang(): void
  /** All entries of a stream in Redis. */
  entries(key: string): Promise<readonly [id: string, fields: readonly string[]][]>
  stop(): Promise<void>
}

export interface Setting {
  readonly random: Random
  readonly channels: readonly string[]
}

/** The user that the processes under test log in as. Faults take its permissions away. */
export const USER = ['--user', 'kit', 'on', '>kit', '~*', '&*', '+@all']
export const CREDENTIALS = { username: 'kit', password: 'kit' }

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export function pause(random: Random, least: number, most: number): Promise<void> {
  return sleep(least + random.below(most - least + 1))
}

/** An administrator's connection to one server. */
export class Admin {
  readonly client: Redis

  constructor(url: string) {
    this.client = new Redis(url, {
      retryStrategy: () => 50,
      maxRetriesPerRequest: null,
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
      connectTimeout: 1000,
    })
    this.client.on('error', () => undefined)
  }

  /** `undefined`: no answer within 2 s, or an error. A command that fails during another fault is not a fault. */
  async command(name: string, ...args: readonly (string | number)[]): Promise<unknown> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), 2000)
    })
    const answer = await Promise.race([this.client.call(name, ...args).catch(() => undefined), late])
    clearTimeout(timer)
    return answer
  }

  close(): void {
    this.client.disconnect()
  }
}
