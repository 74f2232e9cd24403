/** Reads and checks the environment, once. No other file of the example reads `process.env`. */
import { randomBytes } from 'node:crypto'

export interface Config {
  readonly production: boolean
  readonly port: number
  /**
   * The address of `/healthz`, `/readyz` and `/metrics`. It must not be reachable from outside. Absent: on `port` in
   * development, disabled in production.
   */
  readonly internal: { readonly port: number; readonly host: string } | undefined
  /** The URL of a server, or of some nodes of a cluster. Absent: all state is in this process. */
  readonly redis: string | readonly string[] | undefined
  readonly jwtSecret: string
  readonly webhookSecret: string
  readonly webhookVerifyToken: string
  /** The time over which streams are ended at shutdown, in ms, so that not all clients reconnect at once. */
  readonly drainMs: number
  /** The number of proxies in front. Each adds an address to `X-Forwarded-For`. 0: the header is ignored. */
  readonly proxies: number
  /** Notes for the person who starts the process. */
  readonly notes: readonly string[]
}

/** The environment has an invalid value. The message names the variable and the expected value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

const MIN_SECRET_BYTES = 32
/** Public values: this repository contains them. */
const DEVELOPMENT = { WEBHOOK_SECRET: 'dev-webhook-secret', WEBHOOK_VERIFY_TOKEN: 'dev-verify-token' } as const

/** @throws ConfigError */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  // Shells and compose files pass an unset variable as an empty one.
  const get = (name: string): string | undefined => environment[name]?.trim() || undefined
  const production = get('NODE_ENV') === 'production'
  const notes: string[] = []

  function secret(name: keyof typeof DEVELOPMENT, minLength: number): string {
    const value = get(name)
    if (!production) return value ?? DEVELOPMENT[name]
    if (value === undefined) throw new ConfigError(`${name} must be set in production`)
    if (Object.values<string>(DEVELOPMENT).includes(value)) {
      throw new ConfigError(
        `${name} must not be the secret for development in production, because it is public: set another one`,
      )
    }
    if (value.length >= minLength) return value
    throw new ConfigError(`${name} must have at least ${minLength} characters in production, has ${value.length}`)
  }

  function jwtSecret(): string {
    const value = get('JWT_SECRET')
    if (value === undefined && !production) {
      notes.push('JWT_SECRET is not set: using a random one, so a restart signs all users out')
      return randomBytes(48).toString('base64url')
    }
    if (value === undefined) throw new ConfigError('JWT_SECRET must be set in production')
    if (Buffer.byteLength(value) >= MIN_SECRET_BYTES) return value
    throw new ConfigError(`JWT_SECRET must have at least ${MIN_SECRET_BYTES} bytes, has ${Buffer.byteLength(value)}`)
  }

  function internal(port: number): Config['internal'] {
    const value = get('INTERNAL_PORT')
    const host = get('INTERNAL_HOST') ?? '127.0.0.1'
    if (value === undefined) {
      if (production) notes.push('INTERNAL_PORT is not set: /healthz, /readyz and /metrics are not served')
      return undefined
    }
    const own = readPort('INTERNAL_PORT', value)
    if (own === port && port !== 0) throw new ConfigError('INTERNAL_PORT must differ from PORT')
    return { port: own, host }
  }

  const port = readPort('PORT', get('PORT') ?? '3000')
  return {
    production,
    port,
    internal: internal(port),
    redis: readRedis(get('REDIS_URL')),
    jwtSecret: jwtSecret(),
    webhookSecret: secret('WEBHOOK_SECRET', 16),
    webhookVerifyToken: secret('WEBHOOK_VERIFY_TOKEN', 8),
    drainMs: readMs('DRAIN_MS', get('DRAIN_MS') ?? (production ? '10000' : '0')),
    proxies: readSmall('PROXIES', get('PROXIES') ?? '0'),
    notes,
  }
}

function readPort(name: string, value: string): number {
  const port = Number(value)
  if (/^\d+$/.test(value) && port <= 65_535) return port
  throw new ConfigError(`${name} must be a number from 0 to 65535, got ${value}`)
}

function readMs(name: string, value: string): number {
  if (/^\d{1,6}$/.test(value)) return Number(value)
  throw new ConfigError(`${name} must be a number of ms up to 999999, got ${value}`)
}

function readSmall(name: string, value: string): number {
  if (/^\d$/.test(value)) return Number(value)
  throw new ConfigError(`${name} must be a number from 0 to 9, got ${value}`)
}

function readRedis(value: string | undefined): string | readonly string[] | undefined {
  if (value === undefined) return undefined
  const urls = value.split(',').map((url) => url.trim())
  if (!urls.every((url) => /^rediss?:\/\/\S+$/.test(url))) {
    throw new ConfigError(
      'REDIS_URL must start with redis:// or rediss://. For a cluster, separate several URLs with commas.',
    )
  }
  return urls.length === 1 ? urls[0] : urls
}
