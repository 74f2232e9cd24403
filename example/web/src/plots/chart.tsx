/** Quantities over the last minute: lines and their axis. Plain SVG, to keep the bundle small. */
import type { ReactNode } from 'react'

export const SHOWN_MS = 60_000
const WIDTH = 240
const HEIGHT = 64
/** The line has a gap between samples that are further apart. */
const MAX_SAMPLE_GAP_MS = 2000

export interface Timed {
  /** In ms since 1970. */
  readonly at: number
}

export type Value<Frame> = (frame: Frame) => number | null | undefined

interface Series<Frame> {
  /** The CSS class, named after the quantity. */
  readonly className: string
  readonly value: Value<Frame>
  /** Fills the area below the line. @defaultValue false */
  readonly filled?: boolean
}

export interface ChartProps<Frame extends Timed> {
  readonly frames: readonly Frame[]
  /** The last series is drawn on top. */
  readonly series: readonly Series<Frame>[]
  readonly format: (value: number) => string
  /** The minimum end of the axis. */
  readonly top: number
  /** The axis ends at 1, 2 or 5 times a power of ten of this unit. @defaultValue 1 */
  readonly step?: number
  /** A bound, as a dashed line. */
  readonly bound?: number | undefined
  /** The CSS class of the shade behind a sample; `undefined`: no shade. */
  readonly shade?: ((frame: Frame) => string | undefined) | undefined
}

/** Hidden from screen readers: the page must also show the values as text. */
export function Chart<Frame extends Timed>(props: ChartProps<Frame>): ReactNode {
  const { frames, series, format, top, step = 1, bound, shade } = props
  const last = frames.at(-1)
  let highest = Math.max(top, bound ?? 0)
  for (const { value } of series) for (const frame of frames) highest = Math.max(highest, value(frame) ?? 0)
  const end = niceCeil(highest / step) * step
  const x = ({ at }: Frame): number => WIDTH * (1 - ((last?.at ?? at) - at) / SHOWN_MS)
  const y = (amount: number): number => HEIGHT - (Math.max(0, amount) / end) * HEIGHT
  return (
    <div className="chart" aria-hidden="true">
      <div className="axis">
        <span>{format(end)}</span>
        <span>0</span>
      </div>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        {shade !== undefined &&
          shadesOf(frames, shade, x).map(({ from, to, name }) => (
            <rect key={from} className={`shade ${name}`} x={from} width={Math.max(0, to - from)} height={HEIGHT} />
          ))}
        <path className="grid" d={`M0 ${HEIGHT / 2}H${WIDTH}M60 0V${HEIGHT}M120 0V${HEIGHT}M180 0V${HEIGHT}`} />
        {bound !== undefined && <path className="bound" d={`M0 ${y(bound)}H${WIDTH}`} />}
        {series.map(({ className, value, filled = false }) => {
          const path = pathOf(frames, value, x, y)
          return (
            <g key={className} className={className}>
              {filled && <path className="area" d={areaOf(path)} />}
              <path className="line" d={path} />
            </g>
          )
        })}
      </svg>
    </div>
  )
}

type Scale<T> = (of: T) => number

function pathOf<Frame extends Timed>(
  frames: readonly Frame[],
  of: Value<Frame>,
  x: Scale<Frame>,
  y: Scale<number>,
): string {
  let path = ''
  let before: Frame | undefined
  for (const frame of frames) {
    const amount = of(frame)
    if (amount === null || amount === undefined) {
      before = undefined
      continue
    }
    const continues = before !== undefined && frame.at - before.at < MAX_SAMPLE_GAP_MS
    path += `${continues ? 'L' : 'M'}${x(frame).toFixed(1)} ${y(amount).toFixed(1)}`
    before = frame
  }
  return path
}

/** Each part of the line, closed along the axis. */
function areaOf(path: string): string {
  const pieces = path.split('M').filter((piece) => piece.includes('L'))
  return pieces
    .map((piece) => {
      const from = piece.slice(0, piece.indexOf(' '))
      const to = piece.slice(piece.lastIndexOf('L') + 1, piece.lastIndexOf(' '))
      return `M${piece}L${to} ${HEIGHT}L${from} ${HEIGHT}Z`
    })
    .join('')
}

interface Shade {
  readonly from: number
  to: number
  readonly name: string
}

function shadesOf<Frame>(
  frames: readonly Frame[],
  shade: (frame: Frame) => string | undefined,
  x: Scale<Frame>,
): Shade[] {
  const shades: Shade[] = []
  let open: Shade | undefined
  for (const frame of frames) {
    const name = shade(frame)
    if (open !== undefined) open.to = x(frame)
    if (name === open?.name) continue
    open = name === undefined ? undefined : { from: x(frame), to: x(frame), name }
    if (open !== undefined) shades.push(open)
  }
  return shades
}

/** Rounds up to 1, 2 or 5 times a power of ten, so that the axis rarely changes and has readable ends. */
function niceCeil(value: number): number {
  const ten = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5].find((digit) => value <= digit * ten * 1.000001) ?? 10) * ten
}
