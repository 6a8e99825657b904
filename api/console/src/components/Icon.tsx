import { type IconName, icons } from '../theme/states'

/** An icon beside a text that says the same: it is hidden from those who listen. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  const outline = icons[name]
  const filled = outline.startsWith('!')
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path
        d={filled ? outline.slice(1) : outline}
        fill={filled ? 'currentColor' : 'none'}
        stroke={filled ? 'none' : 'currentColor'}
        strokeWidth="1.6"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  )
}
