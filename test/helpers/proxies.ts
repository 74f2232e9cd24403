import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { makeCertificate } from '../interop/certificate.js'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'
import { Nginx } from './nginx.js'
import type { NginxKind, ProgramKind, ProxyKind, ProxyPorts } from './proxy-kinds.js'
import { ServerProcess } from './server-process.js'
import { SseClient } from './sse-client.js'
import { substitute } from './substitute.js'

/** Whether the program of a proxy is on the PATH. */
export function isInstalled({ command }: ProxyKind): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, command)))
}

export interface ProxyOptions {
  /** The port of the kit. */
  readonly kitPort: number
  /** A path that the kit answers with 200, which shows that the proxy serves. */
  readonly readyPath: string
  /** How long a stream without bytes may last. @defaultValue 60, as in the configuration */
  readonly idleSeconds?: number
  /** What else to replace in the configuration. */
  readonly parts?: Readonly<Record<string, string>>
}

/** A real proxy in front of the kit, started from its configuration in `example/deploy/proxies` on a free port. */
export class RealProxy {
  readonly url: string
  /** Of a proxy that serves HTTP/2. */
  readonly #certificate: string | undefined
  readonly #stop: () => Promise<void>

  private constructor(url: string, certificate: string | undefined, stop: () => Promise<void>) {
    this.url = url
    this.#certificate = certificate
    this.#stop = stop
  }

  static async start(
    kind: ProxyKind,
    { kitPort, readyPath, idleSeconds = 60, parts }: ProxyOptions,
  ): Promise<RealProxy> {
    const file = await readFile(new URL(`../../example/deploy/proxies/${kind.file}`, import.meta.url), 'utf8')
    const ports = { proxy: await freePort(), kit: kitPort }
    const idle = kind.idle.replace('60', String(idleSeconds))
    const config = substitute(file, { ...kind.parts(ports), [kind.idle]: idle, ...parts })
    return 'program' in kind
      ? RealProxy.#startProgram(kind, config, ports, readyPath)
      : RealProxy.#startNginx(kind, config)
  }

  static async #startNginx({ http2 }: NginxKind, config: string): Promise<RealProxy> {
    const certificate = http2 ? await makeCertificate() : undefined
    const files = certificate ? { 'cert.pem': certificate.cert, 'key.pem': certificate.key } : {}
    const nginx = await Nginx.deployed(config, {}, files)
    return new RealProxy(nginx.url, certificate?.cert, () => nginx.stop())
  }

  static async #startProgram(
    { command, debian, program }: ProgramKind,
    config: string,
    ports: ProxyPorts,
    readyPath: string,
  ): Promise<RealProxy> {
    const process = await ServerProcess.start(command, (folder) => ({ ...program(folder, config, ports), debian }))
    const url = `http://127.0.0.1:${ports.proxy}`
    try {
      await eventually(async () => {
        process.assertRunning()
        const answer = await fetch(url + readyPath).catch(() => undefined)
        await answer?.body?.cancel()
        return answer?.ok === true
      }, 60_000)
    } catch (error) {
      await process.stop()
      throw error
    }
    return new RealProxy(url, undefined, () => process.stop())
  }

  /** Opens a stream, or gets another response, over the protocol that the proxy serves. */
  open(path: string, headers: Record<string, string> = {}): Promise<SseClient> {
    const url = this.url + path
    return this.#certificate === undefined
      ? SseClient.open(url, headers)
      : SseClient.openHttp2(url, this.#certificate, headers)
  }

  stop(): Promise<void> {
    return this.#stop()
  }
}
